internal import Basics
internal import Crypto

/// What an agent and the quorum compare to see that they know the same of its checkpointed entries: those of no
/// resource provider that are reserved dynamically or are volumes.
public enum CheckpointDigest {
    /// Of an agent with nothing checkpointed.
    public static let ofNothing = of([])

    /// The first 16 bytes of SHA-256 over the entries, in the order of their keys: each `u16 size, key | value`, as it
    /// is stored.
    public static func of(_ entries: [LedgerEntry]) -> [UInt8] {
        var writer = ByteWriter()
        for (key, entry) in entries.map({ ($0.key.bytes, $0) }).sorted(by: { $0.0.lexicographicallyPrecedes($1.0) })
        where entry.resource.isCheckpointed {
            writer.writeBytes16(key)
            var value = entry.resource
            // How a task sees a volume, and who made it, are no part of what the entry is.
            value.disk?.volume = nil
            value.disk?.persistence?.principal = nil
            writer.write(value)
        }
        return sha256(writer.takeBytes())
    }

    static func sha256(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes).prefix(16)) }
}

extension Resource {
    /// An agent keeps it on its disk.
    public var isCheckpointed: Bool { providerID == nil && (stack.last?.kind == .dynamic || isVolume) }
}
