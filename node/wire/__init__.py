"""The DICOM upper layer on a socket, both roles; knows no storage.

`acceptor` takes associations and hands each message to a handler, `requestor` opens them, and
`association` is what both then hold. `command` is the DIMSE command set as bytes, `pdu` the
association negotiation, `contexts` what is proposed and accepted, `policy` who may call,
`slots` how many at once, `tls` the secure transport.
"""
