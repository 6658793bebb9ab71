"""InfiniteBench: its twelve tasks from official files, and generators of our own in its shape."""
