"""The Hugging Face Hub and its cache on this machine.

layout    where things lie in the cache, and what is known of a commit's files
memory    what orch remembers of the cache: file lists, verified hashes, pulls in progress
look      how much of a repository is here
models    all the repositories and flat folders that are here; flat reads such a folder, adoption tells its commit
going     what goes with commits that are deleted, and how much that frees
access    how the Hub is reached: endpoint, token, proxies, offline
store     the port of the rest of orch: looks itself, and has a child process do what needs the network
child/    that process; the only place that imports huggingface_hub
"""
