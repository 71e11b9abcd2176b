package import Basics
package import NIOCore

/// Bounds of all connections of an event loop.
package struct TransportSettings: Hashable, Sendable {
    /// From the opening of a connection to `handshakeFinished`.
    package var handshakeTimeout = Limits.handshakeTimeout
    package var frameSilenceMax = Limits.frameSilenceMax
    package var frameTimeMax = Limits.frameTimeMax
    /// Bytes waiting for one socket above which it is not writable, and below which it is again.
    package var writeHighWaterMark = 1_024 * 1_024
    package var writeLowWaterMark = 256 * 1_024
    /// Bytes waiting for one socket above which its peer is given up. Above the largest reply, or no peer could ever
    /// read one.
    package var pendingWriteSizeMax = 2 * Limits.frameSizeMaxCeiling
    /// The same of all connections that were let in, together: above it those for which most waits are given up.
    package var unsentSizeMax = Limits.unsentSizeMax
    package var connectionsPerAddressMax = Limits.connectionsPerAddressMax
    package var connectionsMax = Limits.connectionsMax
    /// Connections of one listener whose handshake is not finished.
    package var halfOpenMax = Limits.halfOpenConnectionsMax
    package var halfOpenPerAddressMax = Limits.halfOpenConnectionsPerAddressMax

    package init() {}
}

/// A connection that a listener has not let in.
package struct RefusedConnection: Hashable, Sendable {
    /// The caller's address without its port.
    package var remoteHost: String
    package var remoteAddress: String
    package var port: PortPurpose
    /// A clause for people, with what to do.
    package var reason: String
}

/// What the connections of one event loop share. Used on that loop only.
package final class TransportContext {
    package let eventLoop: any EventLoop
    package let settings: TransportSettings
    /// nil: plain TCP, both for listening and for dialling.
    package let tls: TLSSource?
    /// Told of each connection that a listener turned away.
    package var onRefused: ((RefusedConnection) -> Void)?
    package internal(set) var counters = TransportCounters()
    /// Of the connections that were let in.
    var slowReaders = SlowReaders()
    private var lastConnectionID: UInt64 = 0

    package init(
        eventLoop: any EventLoop, settings: TransportSettings = TransportSettings(), tls: TLSSource? = nil
    ) {
        self.eventLoop = eventLoop
        self.settings = settings
        self.tls = tls
    }

    func takeConnectionID() -> UInt64 {
        lastConnectionID += 1
        return lastConnectionID
    }

    /// Ends those that read least of what they asked for, until there is room for what waits for the others.
    func giveUpSlowReaders() {
        guard slowReaders.size > settings.unsentSizeMax else { return }
        slowReaders.measure()
        while slowReaders.size > settings.unsentSizeMax, let (connection, size) = slowReaders.takeLargest() {
            connection.giveUp(pendingBytes: size)
        }
    }
}

/// Connections whose peers take what they are sent more slowly than it comes, and what waits for each.
struct SlowReaders {
    private var sizes: [UInt64: (connection: FrameConnection, size: Int)] = [:]
    /// What waits for all of them, as far as it was noted.
    private(set) var size = 0

    mutating func note(_ connection: FrameConnection, _ waiting: Int) {
        let before = sizes.updateValue((connection, waiting), forKey: connection.id)
        size += waiting - (before?.size ?? 0)
    }

    mutating func forget(_ connection: FrameConnection) {
        if let gone = sizes.removeValue(forKey: connection.id) { size -= gone.size }
    }

    /// Some may have read since it was noted.
    mutating func measure() {
        for (connection, _) in Array(sizes.values) { note(connection, connection.pendingWriteBytes) }
    }

    mutating func takeLargest() -> (connection: FrameConnection, size: Int)? {
        // The youngest of several: the others have waited longer, and are nearer to their end.
        let largest = sizes.values.max { ($0.size, $0.connection.id) < ($1.size, $1.connection.id) }
        if let largest { forget(largest.connection) }
        return largest
    }
}

@available(*, unavailable)
extension TransportContext: Sendable {}

extension HostPort {
    /// A socket's address as people write it.
    static func text(of address: SocketAddress) -> String {
        guard let host = address.ipAddress, let port = address.port.flatMap({ UInt16(exactly: $0) }) else {
            return address.description
        }
        return HostPort(host: host, port: port).description
    }
}
