"""Sends a folder with a bar, and tells of every file that was not simply sent.

objxfer keygen                                                      once; both sides need the key
objxfer serve /tmp                                                  and, in another terminal,
python samples/send_a_folder.py docs tls://localhost/copies
"""

import sys

import objxfer

folder, target = sys.argv[1:]


def tell(entry: objxfer.EntryReport) -> None:
    if entry.outcome is not objxfer.Outcome.SENT:
        print(f"{entry.outcome}: {entry.path!r} {entry.reason!a}")


with objxfer.connect(target, key=objxfer.Key.load()) as conn:
    report = conn.push(folder, progress=objxfer.bar(), on_entry=tell)

sent, unchanged = map(report.count, (objxfer.Outcome.SENT, objxfer.Outcome.UNCHANGED))
print(f"{sent} of {report.files} files sent, {unchanged} unchanged, {report.exit_code.name}")
sys.exit(report.exit_code)
