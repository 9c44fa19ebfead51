"""Sends one file and says what became of it.

objxfer keygen                                              once; both sides need the key
objxfer receive --into /tmp                                 and, in another terminal,
python samples/send_a_file.py README.md tls://localhost
"""

import sys

import objxfer

path, target = sys.argv[1:]

report = objxfer.push(path, to=target, key=objxfer.Key.load())
print(f"{path}: {report.bytes:,} bytes sent, {report.exit_code.name}")
for entry in report.kept_both:
    print("another file of that name lies there; yours is now called", ascii(entry.stored_as))
for entry in report.problems:
    print(f"{entry.outcome}: {entry.reason!a}")
sys.exit(report.exit_code)
