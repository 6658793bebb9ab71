"""The loop: plan, draft, fuse, verify, commit, tell."""
