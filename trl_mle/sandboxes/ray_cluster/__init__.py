"""`RaySandbox`: a `LocalSandbox` on every node of a Ray cluster.

- `sandbox`: the sandbox that callers see; it watches the nodes
- `cluster`: connects to the cluster and lists its nodes
- `node_handle`: one node on the driver's side; starts and restarts its actor
- `node_actor`: the actor that runs on the node
- `slots`: which node runs the next program
- `archive_stream`: a task's public files as pieces of an archive
- `cleanup`: removes the folder of an actor after its end
- `timing`: durations that tests shorten
"""
