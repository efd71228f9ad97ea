"""Renames the provider, since a file cannot re-export a built-in name."""

NativeProtoInfo = ProtoInfo
