"""What all processes that share a store count together, by locks that the kernel gives back when a process dies."""
