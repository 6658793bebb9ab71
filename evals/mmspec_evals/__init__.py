"""The eval runner: quality, losslessness and honest speed, measured in pairs."""
