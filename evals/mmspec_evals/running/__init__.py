"""From a plan to samples on disk: order, timing, resuming, progress."""
