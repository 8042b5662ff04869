"""Calls a gRPC method with the bytes of a message, by grpcio as it comes: TARGET METHOD HEX [--times N | --stream]
[--authority NAME]. The last answer is written to standard output, a failure's status and trailers to standard error."""

import argparse
import sys

import grpc


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("method")
    parser.add_argument("request", nargs="?", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--authority")
    given = parser.parse_args()
    request = bytes.fromhex(given.request)
    options = [("grpc.default_authority", given.authority)] if given.authority else []
    with grpc.insecure_channel(given.target, options=options) as channel:
        try:
            if given.stream:
                for _ in range(given.times):
                    stream = channel.unary_stream(given.method)(request, timeout=60)
                    answer = next(stream)
                    stream.cancel()
            else:
                call = channel.unary_unary(given.method)
                calls = [call.future(request, timeout=60) for _ in range(given.times)]
                answer = [done.result() for done in calls][-1]
        except grpc.RpcError as error:
            trailers = error.trailing_metadata() or ()
            print(error.code(), error.details(), *trailers, file=sys.stderr)
            sys.exit(1)
    sys.stdout.buffer.write(answer)


main()
