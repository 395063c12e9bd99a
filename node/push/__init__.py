"""Carries to destinations what they are owed, and makes sure that they keep it. Run by workers."""
