"""The reference of the GetMedia benchmark: the same gRPC server, whose handler does nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from media_proto import media_service_pb2 as pb


async def get_media(_request: pb.GetMediaRequest, _context: Any) -> pb.MediaResponse:
    """Do nothing."""
    return pb.MediaResponse()


async def main(port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        get_media,
        request_deserializer=pb.GetMediaRequest.FromString,
        response_serializer=pb.MediaResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler("media.MediaService", {"GetMedia": handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
