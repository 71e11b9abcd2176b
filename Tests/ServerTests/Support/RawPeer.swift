import Basics
import Disk
import Foundation
import Glibc
import LogStore
import MetadataModel
import RaftCore
import Synchronization
import Wire

/// A member as others know it, without a node behind it: it says what a test wants and remembers what it is told. It
/// listens at the member's peer address, because nodes answer over connections of their own.
final class RawPeer: Sendable {
    let member: NodeIdentity
    private let peerAddress: String
    private let clientAddress: String
    private let listener: Int32
    private let state = Mutex(State())

    private struct State {
        var heard: [Message] = []
        var open: Set<Int32> = []
        var isOver = false
    }

    /// - Parameter directory: of the stopped node whose part it plays.
    init(_ node: Cluster.Node) throws {
        guard let member = try NodeIdentity.load(from: node.directory, on: PosixFileSystem()) else {
            throw TestFailure("\(node.directory) has no identity")
        }
        self.member = member
        peerAddress = node.peer
        clientAddress = node.client
        listener = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var isOn: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
        var own = LoopbackAddress.of(port: node.peer.split(separator: ":").last.flatMap { Int($0) } ?? 0)
        let bound = withUnsafePointer(to: &own) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0, Glibc.listen(listener, 16) == 0 else { throw TestFailure("cannot listen at \(node.peer)") }
        Thread.detachNewThread { [self] in
            while true {
                let caller = accept(listener, nil, nil)
                guard caller >= 0 else { return }
                let isWanted = state.withLock { state in
                    guard !state.isOver else { return false }
                    state.open.insert(caller)
                    return true
                }
                guard isWanted else {
                    close(caller)
                    return
                }
                Thread.detachNewThread { self.hear(caller) }
            }
        }
    }

    func stop() {
        let open = state.withLock { state in
            state.isOver = true
            return state.open
        }
        for descriptor in open.union([listener]) { shutdown(descriptor, Int32(SHUT_RDWR)) }
        close(listener)
    }

    /// What it was told since it was last asked.
    func takeHeard() -> [Message] {
        state.withLock { state in
            defer { state.heard = [] }
            return state.heard
        }
    }

    private func hear(_ caller: Int32) {
        var buffer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 64 * 1_024)
        while true {
            let count = recv(caller, &part, part.count, 0)
            guard count > 0 else { break }
            buffer += part[..<count]
            guard (try? take(&buffer, caller)) != nil else { break }
        }
        state.withLock { _ = $0.open.remove(caller) }
        close(caller)
    }

    private func take(_ buffer: inout [UInt8], _ caller: Int32) throws {
        var consumed = 0
        while let frame = try FrameHeader.scan(
            buffer.rawSpan.extracting(consumed..<buffer.count), sizeMax: Limits.frameSizeMaxDefault)
        {
            consumed += frame.totalSize
            let message = try PeerMessage.decode(frame.header, body: frame.body).message
            switch message {
            case .hello:
                let reply = PeerHelloReply(
                    version: ProtocolVersion.supported.upperBound, identity: member.cluster, node: member.incarnation,
                    name: member.name, clientAddress: clientAddress, softwareVersion: "raw", featureLevel: FeatureLevel.known,
                    lastIndex: LogIndex(1_000), acknowledgedByCaller: .zero)
                var writer = ByteWriter()
                PeerMessage.helloReply(reply).encode(requestID: frame.header.requestID, into: &writer)
                let bytes = writer.takeBytes()
                _ = bytes.withUnsafeBytes { Glibc.send(caller, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            case .raft(let message): state.withLock { $0.heard.append(message) }
            default: break
            }
        }
        buffer.removeFirst(consumed)
    }

    /// Greets a node, as this member, and says one thing to it.
    /// - Returns: the connection; a node takes its end for a member that is gone.
    func say(_ message: Message, to address: String, of receiver: NodeID) throws -> RawSocket {
        let socket = try RawSocket(address, timeout: .seconds(5))
        let hello = PeerHello(
            identity: member.cluster, sender: member.incarnation, name: member.name, expectedReceiver: receiver,
            peerAddress: peerAddress, clientAddress: clientAddress, softwareVersion: "raw", featureLevel: FeatureLevel.known,
            last: EntryID(term: .zero, index: LogIndex(1_000)), configurationIndex: .zero)
        var writer = ByteWriter()
        PeerMessage.hello(hello).encode(into: &writer)
        try socket.send(writer.takeBytes())
        _ = try socket.receiveFrame()
        var next = ByteWriter()
        PeerMessage.raft(message).encode(into: &next)
        try socket.send(next.takeBytes())
        return socket
    }
}
