"""What stands between `E2BSandbox` and an E2B sandbox, which is called a machine here: it is a small virtual machine.

- `machines`: all machines of one run: started as programs come, used again, none left
- `machine`: one machine: prepared, given public files and programs
- `account`: how machines are created, killed and looked for
- `bundle`: what is uploaded: modules, public files, never the answers
- `faults`: what went wrong with the SDK, as one of this package's errors
- `guest/`: runs inside the machine, beside `runner`: standard library alone
"""
