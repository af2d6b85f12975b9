"""The feature that acts on runs at their instants: leases, deadlines, backoffs, cancels and retention."""
