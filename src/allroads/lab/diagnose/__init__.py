"""The design behind `allroads diagnose`: both learners on parts of the data, no online training."""
