"""The reference of the GetMedia benchmark: the same gRPC server, whose handler does nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from media_proto import media_service_pb2 as pb
from media_proto import media_service_pb2_grpc as pb_grpc


class Empty(pb_grpc.MediaServiceServicer):
    """Answers GetMedia with an empty message."""

    async def GetMedia(self, request: pb.GetMediaRequest, context: Any) -> pb.MediaResponse:
        """Do nothing."""
        return pb.MediaResponse()


async def main(port: int) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    pb_grpc.add_MediaServiceServicer_to_server(Empty(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
