internal import Basics
internal import Crypto

/// What an agent and the quorum compare to see that they know the same of its checkpointed entries: those of no
/// resource provider that are reserved dynamically or are volumes.
public enum CheckpointDigest {
    /// Of an agent with nothing checkpointed.
    public static let ofNothing = of([])

    /// The first 16 bytes of SHA-256 over the resources of the entries, in the order of their bytes as they are stored;
    /// the agent need not know which of several alike is which.
    public static func of(_ entries: [LedgerEntry]) -> [UInt8] {
        let values = entries.lazy.map(\.resource).filter(\.isCheckpointed).map { resource in
            var value = resource
            // How a task sees a volume, and who made it, are no part of what the entry is.
            value.disk?.volume = nil
            value.disk?.persistence?.principal = nil
            return value.encoded()
        }
        return sha256(values.sorted { $0.lexicographicallyPrecedes($1) }.flatMap(\.self))
    }

    /// Of the totals of an agent, as stated: the first 16 bytes of SHA-256 over their encodings one after the other.
    package static func ofTotals(_ totals: [Resource]) -> [UInt8] { sha256(totals.flatMap { $0.encoded() }) }

    static func sha256(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes).prefix(16)) }
}

extension Resource {
    /// An agent keeps it on its disk.
    public var isCheckpointed: Bool { providerID == nil && (stack.last?.kind == .dynamic || isVolume) }
}
