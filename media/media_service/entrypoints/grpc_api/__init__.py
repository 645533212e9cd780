"""The contract `media.MediaService` over gRPC."""
