"""The rehearsal cloud: an emulated AWS on this machine, whose instances are real enough to work on.

`python -m cloudfn.rehearsal` is what the command line starts; see `__main__`.
"""
