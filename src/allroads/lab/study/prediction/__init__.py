"""Is the diagnosis right? Its predictions against measured gains, on worlds whose truth is known."""
