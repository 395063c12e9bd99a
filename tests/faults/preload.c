/* A layer between a program and its C library that can lose, refuse and mistime things.

   Loaded with LD_PRELOAD; steered by the environment:
     FAULTS_ROOT     only what lies below this directory is looked at
     FAULTS_JOURNAL  every change below it is appended here, with its bytes; powerloss.py reads it
     FAULTS_CONTROL  a file of 4096 bytes shared by all processes: lock, counters, clock offset
     FAULTS_ERRORS   rules, separated by ';':  OPERATION|TEXT IN THE PATH|ERRNO|NTH|TIMES|FLAG FILE
                     a TEXT that ends with '$' must be the path's end;
                     OPERATION is write, sync, rename, create, mkdir or unlink; ERRNO a name, or SHORT for
                     a write that takes half; NTH counts from 1 over all processes; TIMES 0 is for ever;
                     with a FLAG FILE the rule holds while that file exists

   One lock over all processes is held around each change and its record, so the order of the
   records is the order of the changes. A sync has two records: it covers what was recorded before
   its beginning, and it counts from its end.

   Stores through a shared mapping cannot be seen as they happen: small mappings are looked at whenever a
   sync ends, larger ones at msync. Not seen at all: FICLONE, io_uring, and what the C library's own stdio
   writes. The node and SQLite (its -shm file aside, which is no durable state) use none of these. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, WRITE, ZERO, TRUNCATE, RENAME, LINK, UNLINK, RMDIR, SYNC_BEGIN, SYNC_END };
enum { DURABLE = 1, FAILED = 2 };
enum { RULES = 16, MAPPINGS = 64, SMALL = 4096 };

struct record {
    uint32_t magic, op, pid, flags;
    uint64_t inode, offset, length;
    uint32_t path, other, data, unused;
};

struct control {
    int64_t clock_offset; /* seconds; written by the test while the program runs */
    uint64_t token;       /* pairs the two records of a sync */
    uint64_t seen[RULES]; /* how often each rule matched */
    uint32_t ready;
    pthread_mutex_t lock; /* robust: its holder may be killed */
};

static struct rule { char op[16], text[256], flag[256]; int error; uint64_t nth, times; } rules[RULES];
static struct mapping { char *at; size_t length; int fd; off_t offset; char seen[SMALL]; } mappings[MAPPINGS];
static int rule_count, journal = -1;
static char root[PATH_MAX], journal_path[PATH_MAX];
static size_t root_length;
static struct control *control;

#define REAL(type, name, ...)                                                    \
    static type (*real_##name)(__VA_ARGS__);                                     \
    if (!real_##name) real_##name = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int error_of(const char *name) {
    static const struct { const char *name; int number; } known[] = {
        {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"SHORT", -1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) return known[i].number;
    return EIO;
}

static void read_rules(const char *text) {
    char *copy = strdup(text), *outer = NULL;
    for (char *one = strtok_r(copy, ";", &outer); one && rule_count < RULES; one = strtok_r(NULL, ";", &outer)) {
        char *field[6] = {"", "", "EIO", "1", "1", ""};
        for (int i = 0; i < 6 && one; i++) field[i] = strsep(&one, "|");
        struct rule *r = &rules[rule_count++];
        snprintf(r->op, sizeof r->op, "%s", field[0]);
        snprintf(r->text, sizeof r->text, "%s", field[1]);
        snprintf(r->flag, sizeof r->flag, "%s", field[5]);
        r->error = error_of(field[2]);
        r->nth = strtoull(field[3], NULL, 10);
        r->times = strtoull(field[4], NULL, 10);
    }
    free(copy);
}

__attribute__((constructor)) static void start(void) {
    const char *value = getenv("FAULTS_CONTROL");
    if (!value) return;
    int fd = syscall(SYS_openat, AT_FDCWD, value, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (at == MAP_FAILED) return;
    struct control *shared = at;
    if (__sync_bool_compare_and_swap(&shared->ready, 0, 1)) {
        pthread_mutexattr_t how;
        pthread_mutexattr_init(&how);
        pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&shared->lock, &how);
        __sync_synchronize();
        shared->ready = 2;
    }
    while (*(volatile uint32_t *)&shared->ready != 2) usleep(100);
    if ((value = getenv("FAULTS_ROOT")) && realpath(value, root)) root_length = strlen(root);
    if ((value = getenv("FAULTS_JOURNAL"))) snprintf(journal_path, sizeof journal_path, "%s", value);
    if ((value = getenv("FAULTS_ERRORS"))) read_rules(value);
    control = shared;
}

static void lock(void) {
    if (!control || !journal_path[0]) return;
    if (pthread_mutex_lock(&control->lock) == EOWNERDEAD) pthread_mutex_consistent(&control->lock);
}

static void unlock(void) {
    int kept = errno;
    if (control && journal_path[0]) pthread_mutex_unlock(&control->lock);
    errno = kept;
}

/* ---- which paths concern us ---- */

static int below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int fd_path(int fd, char *out) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, name, out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The absolute form of a path, and whether it lies below the root. */
static int full_path(int dirfd, const char *path, char *out) {
    char base[PATH_MAX];
    if (!root_length || !path) return 0;
    int kept = errno;
    if (path[0] == '/') snprintf(out, PATH_MAX, "%s", path);
    else if (dirfd == AT_FDCWD ? getcwd(base, sizeof base) != NULL : fd_path(dirfd, base))
        snprintf(out, 2 * PATH_MAX, "%s/%s", base, path);
    else out[0] = 0;
    errno = kept;
    return below(out);
}

/* Whether a descriptor is a regular file or a directory below the root. */
static int ours(int fd, char *path, struct stat *facts) {
    if (!root_length) return 0;
    int kept = errno;
    int yes = !fstat(fd, facts) && (S_ISREG(facts->st_mode) || S_ISDIR(facts->st_mode)) && fd_path(fd, path) &&
              below(path);
    errno = kept;
    return yes;
}

/* ---- refusing ---- */

static int names(const char *text, const char *path) {
    size_t wanted = strlen(text), length = strlen(path);
    if (!wanted || text[wanted - 1] != '$') return strstr(path, text) != NULL;
    wanted--;
    return length >= wanted && !memcmp(path + length - wanted, text, wanted);
}

/* 0: go on; an errno: fail with it; -1: write only half. */
static int refusal(const char *op, const char *path) {
    for (int i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if (strcmp(r->op, op) || !names(r->text, path)) continue;
        if (r->flag[0] && syscall(SYS_faccessat, AT_FDCWD, r->flag, F_OK)) continue;
        uint64_t count = __sync_add_and_fetch(&control->seen[i], 1);
        if (count < r->nth || (r->times && count >= r->nth + r->times)) continue;
        return r->error;
    }
    return 0;
}

#define REFUSE(op, path, failure)                    \
    do {                                             \
        int error = rule_count ? refusal(op, path) : 0; \
        if (error) { errno = error > 0 ? error : EIO; return failure; } \
    } while (0)

/* ---- recording ---- */

static void put(struct iovec *parts, int count) {
    if (journal < 0) {
        int fd = syscall(SYS_openat, AT_FDCWD, journal_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        journal = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700); /* out of the way of the program's own */
        if (journal < 0) journal = fd; else syscall(SYS_close, fd);
    }
    if (syscall(SYS_writev, journal, parts, count) < 0 && errno == EBADF) {
        journal = -1; /* the program closed every descriptor: open it again */
        put(parts, count);
    }
}

static void note(int op, uint64_t inode, uint64_t offset, uint64_t length, int flags, const char *path,
                 const char *other, const void *data, size_t size) {
    if (!journal_path[0]) return;
    int kept = errno;
    struct record r = {0x314A4C50, op, getpid(), flags, inode, offset, length,
                       path ? strlen(path) : 0, other ? strlen(other) : 0, size, 0};
    struct iovec parts[4] = {{&r, sizeof r}, {(void *)path, r.path}, {(void *)other, r.other}, {(void *)data, size}};
    put(parts, 4);
    errno = kept;
}

static void note_bytes(int fd, struct stat *facts, off_t offset, const char *data, size_t size, int flags) {
    if (!size) return;
    if (fcntl(fd, F_GETFL) & O_DSYNC) flags |= DURABLE;
    int zero = !data[0] && !memcmp(data, data + 1, size - 1); /* preallocation: its length says it all */
    note(zero ? ZERO : WRITE, facts->st_ino, offset, size, flags, NULL, NULL, data, zero ? 0 : size);
}

/* What another function wrote into a file, read back. */
static void note_copied(int fd, struct stat *facts, off_t offset, size_t size) {
    char name[64], *bytes = malloc(size);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int kept = errno, reader = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = syscall(SYS_pread64, reader, bytes, size, offset);
    if (n > 0) note_bytes(fd, facts, offset, bytes, n, 0);
    syscall(SYS_close, reader);
    free(bytes);
    errno = kept;
}

/* ---- writing ---- */

static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    char path[2 * PATH_MAX];
    struct stat facts;
    struct iovec half;
    REAL(ssize_t, writev, int, const struct iovec *, int);
    REAL(ssize_t, pwritev2, int, const struct iovec *, int, off_t, int);
    int mine = ours(fd, path, &facts);
    if (mine && rule_count) {
        int error = refusal("write", path);
        if (error > 0) { errno = error; return -1; }
        if (error < 0 && count && parts[0].iov_len > 1) {
            half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
            parts = &half;
            count = 1;
        }
    }
    if (!mine) return offset < 0 ? real_writev(fd, parts, count) : real_pwritev2(fd, parts, count, offset, flags);
    lock();
    ssize_t n = offset < 0 ? real_writev(fd, parts, count) : real_pwritev2(fd, parts, count, offset, flags);
    if (n > 0 && journal_path[0]) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - n;
        size_t left = n;
        for (int i = 0; i < count && left; i++) {
            size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
            note_bytes(fd, &facts, offset, parts[i].iov_base, size, flags & RWF_DSYNC ? DURABLE : 0);
            offset += size;
            left -= size;
        }
    }
    unlock();
    return n;
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[2 * PATH_MAX];
    struct stat facts;
    struct iovec one = {(void *)data, size};
    if (!ours(fd, path, &facts)) { /* sockets and pipes keep their own call */
        REAL(ssize_t, write, int, const void *, size_t);
        return real_write(fd, data, size);
    }
    return written(fd, &one, 1, -1, 0);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    struct iovec one = {(void *)data, size};
    return written(fd, &one, 1, offset, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count, -1, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return written(fd, parts, count, offset, 0);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return written(fd, parts, count, offset, 0);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return written(fd, parts, count, offset, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return written(fd, parts, count, offset, flags);
}

ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
    if (!ours(out, path, &facts)) return real_copy_file_range(in, in_at, out, out_at, size, flags);
    REFUSE("write", path, -1);
    lock();
    off_t at = out_at ? *out_at : lseek(out, 0, SEEK_CUR);
    ssize_t n = real_copy_file_range(in, in_at, out, out_at, size, flags);
    if (n > 0) note_copied(out, &facts, at, n);
    unlock();
    return n;
}

ssize_t sendfile64(int out, int in, off_t *in_at, size_t size) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(ssize_t, sendfile64, int, int, off_t *, size_t);
    if (!ours(out, path, &facts)) return real_sendfile64(out, in, in_at, size);
    REFUSE("write", path, -1);
    lock();
    off_t at = lseek(out, 0, SEEK_CUR);
    ssize_t n = real_sendfile64(out, in, in_at, size);
    if (n > 0) note_copied(out, &facts, at, n);
    unlock();
    return n;
}
ssize_t sendfile(int out, int in, off_t *in_at, size_t size) { return sendfile64(out, in, in_at, size); }

static int resized(int fd, off_t size, int grow_only) {
    char path[2 * PATH_MAX];
    struct stat facts;
    if (!ours(fd, path, &facts)) return -1;
    if (grow_only && facts.st_size >= size) return 0;
    note(TRUNCATE, facts.st_ino, 0, size, 0, NULL, NULL, NULL, 0);
    return 0;
}

int ftruncate(int fd, off_t size) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(int, ftruncate, int, off_t);
    if (!ours(fd, path, &facts)) return real_ftruncate(fd, size);
    REFUSE("write", path, -1);
    lock();
    int failed = real_ftruncate(fd, size);
    if (!failed) resized(fd, size, 0);
    unlock();
    return failed;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(int, fallocate, int, int, off_t, off_t);
    if (!ours(fd, path, &facts)) return real_fallocate(fd, mode, offset, size);
    REFUSE("write", path, -1);
    lock();
    if (!(mode & 1)) resized(fd, offset + size, 1); /* KEEP_SIZE changes nothing that a reader sees */
    int failed = real_fallocate(fd, mode, offset, size);
    if (!failed && mode & ~1) note(ZERO, facts.st_ino, offset, size, 0, NULL, NULL, NULL, 0);
    unlock();
    return failed;
}
int fallocate64(int fd, int mode, off_t offset, off_t size) { return fallocate(fd, mode, offset, size); }
int posix_fallocate(int fd, off_t offset, off_t size) {
    int kept = errno, failed = fallocate(fd, 0, offset, size) ? errno : 0;
    errno = kept;
    return failed;
}
int posix_fallocate64(int fd, off_t offset, off_t size) { return posix_fallocate(fd, offset, size); }

/* ---- names ---- */

static int opened(int dirfd, const char *name, int flags, mode_t mode) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(int, openat, int, const char *, int, ...);
    int tmpfile = (flags & O_TMPFILE) == O_TMPFILE;
    if (!full_path(dirfd, name, path) || (!(flags & (O_CREAT | O_TRUNC)) && !tmpfile))
        return real_openat(dirfd, name, flags, mode);
    if (!(flags & O_CREAT) && !tmpfile) { /* O_TRUNC alone */
        lock();
        int fd = real_openat(dirfd, name, flags, mode);
        if (fd >= 0) resized(fd, 0, 0);
        unlock();
        return fd;
    }
    lock();
    /* only O_EXCL tells whether this call made the file */
    int fd = tmpfile ? real_openat(dirfd, name, flags, mode) : real_openat(dirfd, name, flags | O_EXCL, mode);
    if (fd >= 0) {
        int error = rule_count ? refusal("create", path) : 0;
        if (error) {
            syscall(SYS_close, fd);
            if (!tmpfile) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
            unlock();
            errno = error > 0 ? error : EIO;
            return -1;
        }
        if (!fstat(fd, &facts)) note(CREATE, facts.st_ino, 0, 0, 0, tmpfile ? "" : path, NULL, NULL, 0);
        unlock();
        return fd;
    }
    if (errno != EEXIST || flags & O_EXCL || tmpfile) { unlock(); return fd; }
    if (flags & O_TRUNC) {
        fd = real_openat(dirfd, name, flags & ~O_CREAT, mode);
        if (fd >= 0) resized(fd, 0, 0);
        unlock();
        return fd;
    }
    unlock(); /* opening a FIFO may block */
    return real_openat(dirfd, name, flags, mode);
}

#define MODE_ARGUMENT(last)                                        \
    mode_t mode = 0;                                               \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {     \
        va_list more;                                              \
        va_start(more, last);                                      \
        mode = va_arg(more, mode_t);                               \
        va_end(more);                                              \
    }
int open(const char *name, int flags, ...) { MODE_ARGUMENT(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE_ARGUMENT(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int dir, const char *name, int flags, ...) { MODE_ARGUMENT(flags) return opened(dir, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE_ARGUMENT(flags) return opened(dir, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

static int made(int dirfd, const char *name, mode_t mode) {
    char path[2 * PATH_MAX];
    struct stat facts;
    REAL(int, mkdirat, int, const char *, mode_t);
    if (!full_path(dirfd, name, path)) return real_mkdirat(dirfd, name, mode);
    REFUSE("mkdir", path, -1);
    lock();
    int failed = real_mkdirat(dirfd, name, mode);
    if (!failed && !lstat(path, &facts)) note(MKDIR, facts.st_ino, 0, 0, 0, path, NULL, NULL, 0);
    unlock();
    return failed;
}
int mkdir(const char *name, mode_t mode) { return made(AT_FDCWD, name, mode); }
int mkdirat(int dir, const char *name, mode_t mode) { return made(dir, name, mode); }

static int renamed(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char old[2 * PATH_MAX], new[2 * PATH_MAX];
    struct stat facts;
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    int mine = full_path(from_dir, from, old);
    if (!(full_path(to_dir, to, new) || mine)) return real_renameat2(from_dir, from, to_dir, to, flags);
    REFUSE("rename", new, -1);
    lock();
    int failed = real_renameat2(from_dir, from, to_dir, to, flags);
    if (!failed && !lstat(new, &facts)) note(RENAME, facts.st_ino, 0, 0, 0, old, new, NULL, 0);
    unlock();
    return failed;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return renamed(a, from, b, to, flags);
}

static int linked(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char old[2 * PATH_MAX], new[2 * PATH_MAX];
    struct stat facts;
    REAL(int, linkat, int, const char *, int, const char *, int);
    full_path(from_dir, from, old);
    if (!full_path(to_dir, to, new)) return real_linkat(from_dir, from, to_dir, to, flags);
    REFUSE("rename", new, -1);
    lock();
    int failed = real_linkat(from_dir, from, to_dir, to, flags);
    if (!failed && !lstat(new, &facts)) note(LINK, facts.st_ino, 0, 0, 0, new, NULL, NULL, 0);
    unlock();
    return failed;
}
int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return linked(a, from, b, to, flags); }

static int unlinked(int dirfd, const char *name, int flags) {
    char path[2 * PATH_MAX];
    REAL(int, unlinkat, int, const char *, int);
    if (!full_path(dirfd, name, path)) return real_unlinkat(dirfd, name, flags);
    REFUSE("unlink", path, -1);
    lock();
    int failed = real_unlinkat(dirfd, name, flags);
    if (!failed) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, 0, 0, path, NULL, NULL, 0);
    unlock();
    return failed;
}
int unlink(const char *name) { return unlinked(AT_FDCWD, name, 0); }
int unlinkat(int dir, const char *name, int flags) { return unlinked(dir, name, flags); }
int rmdir(const char *name) { return unlinked(AT_FDCWD, name, AT_REMOVEDIR); }

/* ---- syncing ---- */

static uint64_t sync_begins(uint64_t inode) {
    uint64_t token = control ? __sync_add_and_fetch(&control->token, 1) : 0;
    lock();
    note(SYNC_BEGIN, inode, token, 0, 0, NULL, NULL, NULL, 0);
    unlock();
    return token;
}

/* What a program stored through a mapping may get to the disk at any time from then on. */
static void note_mappings(void) {
    if (!journal_path[0]) return;
    for (int i = 0; i < MAPPINGS; i++) {
        struct mapping *m = &mappings[i];
        struct stat facts;
        if (!m->at || m->length > SMALL || !memcmp(m->seen, m->at, m->length) || fstat(m->fd, &facts)) continue;
        memcpy(m->seen, m->at, m->length);
        note_bytes(m->fd, &facts, m->offset, m->seen, m->length, 0);
    }
}

static int sync_ends(uint64_t inode, uint64_t token, int failed) {
    lock();
    note(SYNC_END, inode, token, 0, failed ? FAILED : 0, NULL, NULL, NULL, 0);
    note_mappings();
    unlock();
    return failed;
}

static int synced(int fd, int (*real)(int), int everything) {
    char path[2 * PATH_MAX];
    struct stat facts;
    if (!ours(fd, path, &facts)) return real(fd);
    uint64_t inode = everything ? 0 : facts.st_ino, token = sync_begins(inode);
    int error = rule_count ? refusal("sync", path) : 0;
    int failed = error ? -1 : real(fd);
    if (error) errno = error > 0 ? error : EIO;
    return sync_ends(inode, token, failed);
}

int fsync(int fd) { REAL(int, fsync, int); return synced(fd, real_fsync, 0); }
int fdatasync(int fd) { REAL(int, fdatasync, int); return synced(fd, real_fdatasync, 0); }
int syncfs(int fd) { REAL(int, syncfs, int); return synced(fd, real_syncfs, 1); }
void sync(void) {
    REAL(void, sync, void);
    uint64_t token = sync_begins(0);
    real_sync();
    sync_ends(0, token, 0);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    char path[2 * PATH_MAX];
    struct stat facts;
    void *got = (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
    if (got != MAP_FAILED && fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE && ours(fd, path, &facts))
        for (int i = 0; i < MAPPINGS; i++)
            if (!mappings[i].at || mappings[i].at == got) {
                if (mappings[i].at) syscall(SYS_close, mappings[i].fd);
                int kept = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700); /* the program may close its own */
                mappings[i] = (struct mapping){got, length, kept, offset, ""};
                if (length <= SMALL) memcpy(mappings[i].seen, got, length);
                break;
            }
    return got;
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(at, length, protection, flags, fd, offset);
}
int munmap(void *at, size_t length) {
    lock(); /* note_mappings of another thread may be looking */
    for (int i = 0; i < MAPPINGS; i++)
        if (mappings[i].at == at) {
            syscall(SYS_close, mappings[i].fd);
            mappings[i].at = NULL;
        }
    int failed = syscall(SYS_munmap, at, length);
    unlock();
    return failed;
}

int msync(void *at, size_t length, int flags) {
    for (int i = 0; i < MAPPINGS; i++) {
        struct mapping *m = &mappings[i];
        struct stat facts;
        if (!m->at || (char *)at < m->at || (char *)at >= m->at + m->length || fstat(m->fd, &facts)) continue;
        lock();
        note_bytes(m->fd, &facts, m->offset + ((char *)at - m->at), at, length, 0);
        unlock();
        uint64_t token = sync_begins(facts.st_ino);
        return sync_ends(facts.st_ino, token, syscall(SYS_msync, at, length, flags));
    }
    return syscall(SYS_msync, at, length, flags);
}

/* ---- the clock ---- */

int clock_gettime(clockid_t which, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int failed = real_clock_gettime(which, now);
    if (!failed && control && which == CLOCK_REALTIME) now->tv_sec += control->clock_offset;
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact = {0};
    (void)zone; /* obsolete, and nobody asks for it */
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return failed;
}
time_t time(time_t *out) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
