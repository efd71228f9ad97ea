"""Hands Bazel's own protobuf rules to @bazel_tools under the name it loads."""

load(":provider.bzl", "NativeProtoInfo")

ProtoInfo = NativeProtoInfo
proto_lang_toolchain = native.proto_lang_toolchain
proto_library = native.proto_library
