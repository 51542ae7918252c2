"""Images on disk, in Parquet shards and on their way to a worker."""
