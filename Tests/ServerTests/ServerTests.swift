import Testing

/// Real `quorate` processes, killed, paused, stopped and lied to. One after another: each test starts a cluster of its
/// own, and what they say about time would mean nothing if they ran side by side.
///
/// The binary is the one that QUORATE_BINARY names, else the package's own release or debug build.
@Suite(.serialized) enum ServerTests {}
