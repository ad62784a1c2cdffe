"""`E2BSandbox`: programs in E2B sandboxes, which are small virtual machines and are called VMs here.

- `sandbox`: the sandbox that callers see
- `vm_pool`: all VMs of one run, which are started on demand, reused, and killed at the end
- `vm`: one VM, which gets the runner, public files and programs
- `account`: creates, kills and lists VMs
- `bundle`: what is uploaded: modules and public files, never the answers
- `errors`: errors of the SDK as errors of this package
- `timing`: durations that tests shorten
- `guest/`: runs inside the VM beside `runner`; standard library only
"""
