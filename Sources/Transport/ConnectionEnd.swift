package import Basics
internal import Glibc
internal import NIOCore

/// Why a connection is over.
package enum ConnectionEnd: Equatable, Sendable, CustomStringConvertible {
    /// This side called `close()`.
    case closedHere
    /// The peer ended it between two frames.
    case closedByPeer
    /// It ended in the middle of a frame: the peer died, or the network did.
    case cutInsideFrame
    /// The operating system reported an error, a reset among them.
    case failed(String)
    /// The peer sent what is no frame, or one that is too large.
    case badFrame(DecodeError)
    /// The peer did not say who it is in time.
    case handshakeTimeout
    /// A frame began and did not go on, or did not come to its end.
    case silentInsideFrame
    /// The two sides do not agree on who may speak here, or on TLS; what to do.
    case refused(String)
    /// TLS came in on a port without it.
    case unexpectedTLS
    /// The peer takes what we send too slowly.
    case slowReader(pendingBytes: Int)

    package var description: String {
        switch self {
        case .closedHere: "closed by this side"
        case .closedByPeer: "closed by the other side"
        case .cutInsideFrame: "cut in the middle of a frame"
        case .failed(let what): what
        case .badFrame(let error): "bad frame: \(error)"
        case .handshakeTimeout: "no handshake in time"
        case .silentInsideFrame: "silence in the middle of a frame"
        case .refused(let why): why
        case .unexpectedTLS: TLSFailure.callerNeedsPlainText
        case .slowReader(let pending): "\(pending) bytes wait for a slow reader"
        }
    }
}

/// What has happened on the connections of one event loop since it began; numbers only rise.
package struct TransportCounters: Hashable, Sendable {
    package internal(set) var connectionsOpened: UInt64 = 0
    /// Refused because a limit on connections was reached, or TLS could not be agreed on.
    package internal(set) var connectionsRefused: UInt64 = 0
    package internal(set) var framesReceived: UInt64 = 0
    /// Connections closed for a frame that was none.
    package internal(set) var badFrames: UInt64 = 0
    /// Connections closed for a handshake or a frame that did not come to its end.
    package internal(set) var timeouts: UInt64 = 0
    package internal(set) var slowReaders: UInt64 = 0

    mutating func count(_ end: ConnectionEnd) {
        switch end {
        case .badFrame: badFrames &+= 1
        case .handshakeTimeout, .silentInsideFrame: timeouts &+= 1
        case .slowReader: slowReaders &+= 1
        case .refused, .unexpectedTLS: connectionsRefused &+= 1
        case .closedHere, .closedByPeer, .cutInsideFrame, .failed: break
        }
    }
}

/// Short text for people; NIO's own mentions the system call and its parameters.
func describe(_ error: any Error) -> String {
    guard let error = error as? IOError else { return "\(error)" }
    return String(cString: strerror(error.errnoCode))
}
