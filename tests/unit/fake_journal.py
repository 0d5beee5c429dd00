"""A stand-in for journalctl, and the unit whose lines it holds."""

UNIT = "orch-lab-1234abcd-a-00001-aaaaaaaa.service"
JOURNALCTL = """\
#!/bin/sh
# Holds the lines of the file journal; a cursor is how many of them were shown.
echo "$@" >> {folder}/asked
shown=0
for word; do case $word in --after-cursor=*) shown=${{word#*=}};; esac; done
total=$(wc -l < {folder}/journal)
[ "$total" -gt 0 ] || exit 1
tail -n "+$((shown + 1))" {folder}/journal
echo "-- cursor: $total"
"""
