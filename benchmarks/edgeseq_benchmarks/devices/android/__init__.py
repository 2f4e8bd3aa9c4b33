"""The benchmark of a phone, which has no Python: the native `benchmark_model` on our inputs."""
