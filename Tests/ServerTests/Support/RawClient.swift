import Foundation
import Glibc

/// A client written from docs/PROTOCOL.md alone, with plain sockets: it can do what the library never would, and shows
/// that the document is enough. One request at a time; every wait is bounded.
final class RawClient {
    struct Reply {
        var kind: UInt16
        var code: UInt16
        var revision: UInt64
        /// After code and revision.
        var fields: Bytes
    }

    enum Kind {
        static let hello: UInt16 = 1
        static let mutate: UInt16 = 2
        static let query: UInt16 = 3
    }

    private let socket: RawSocket
    private var nextRequest: UInt64 = 1
    /// Cluster time at the greeting.
    private(set) var clusterTime: UInt64 = 0

    /// Connects and says hello.
    init(_ address: String, timeout: Duration = .seconds(10)) throws {
        socket = try RawSocket(address, timeout: timeout)
        var body = Bytes()
        body.append(UInt16(1))
        body.append(UInt16(1))
        body.append(UInt8(0))
        body.append16(Array("raw".utf8))
        body.append16(Array("1".utf8))
        var reply = try request(Kind.hello, body)
        guard reply.code == 0 else { throw TestFailure("hello refused with code \(reply.code)") }
        _ = try reply.fields.take(2)
        if try reply.fields.readUInt8() == 1 { _ = try reply.fields.take(24) }
        _ = try reply.fields.take(8)
        _ = try reply.fields.take(Int(reply.fields.readUInt16()))
        _ = try reply.fields.take(Int(reply.fields.readUInt16()))
        clusterTime = try reply.fields.readUInt64()
    }

    @discardableResult
    func send(_ kind: UInt16, _ body: Bytes, mayBeForwarded: Bool = true) throws -> UInt64 {
        let id = nextRequest
        nextRequest += 1
        try socket.send(Frame.bytes(kind: kind, flags: mayBeForwarded && kind != Kind.hello ? 8 : 0, id: id, body: body))
        return id
    }

    /// A frame about an earlier request; nothing answers it.
    func send(_ kind: UInt16, _ body: Bytes, id: UInt64) throws {
        try socket.send(Frame.bytes(kind: kind, id: id, body: body))
    }

    func receive(_ id: UInt64) throws -> Reply {
        while true {
            var frame = try socket.receiveFrame()
            _ = try frame.take(2)
            let kind = try frame.readUInt16()
            let answered = try frame.readUInt64()
            frame.dropLast(4)
            guard answered == id else { continue }
            return Reply(kind: kind, code: try frame.readUInt16(), revision: try frame.readUInt64(), fields: frame)
        }
    }

    func request(_ kind: UInt16, _ body: Bytes, mayBeForwarded: Bool = true) throws -> Reply {
        try receive(send(kind, body, mayBeForwarded: mayBeForwarded))
    }

    // MARK: Requests

    /// The value of a linearizable read at this node; nil when there is no such row.
    func get(_ key: String, isStale: Bool = false) throws -> (value: String, revision: UInt64)? {
        try Self.row(request(Kind.query, Self.getBody(key, isStale: isStale)))
    }

    static func row(_ answer: Reply) throws -> (value: String, revision: UInt64)? {
        var reply = answer
        guard reply.code == 0 else { throw RefusedRequest(code: reply.code) }
        guard try reply.fields.readUInt8() == 1 else { return nil }
        let revision = try reply.fields.readUInt64()
        let value = try reply.fields.take(Int(reply.fields.readUInt32()))
        return (String(decoding: value, as: UTF8.self), revision)
    }

    static func getBody(_ key: String, isStale: Bool) -> Bytes {
        var body = Bytes()
        body.append(UInt8(isStale ? 1 : 0))
        body.append(UInt64(0))
        body.append(UInt8(1))
        body.append16(Array(key.utf8))
        return body
    }

    /// All rows with the prefix as this node has them, page by page; the text of key and revision and value.
    func staleRows(prefix: String) throws -> [String] {
        var rows: [String] = []
        var cursor: [UInt8] = []
        while true {
            var body = Bytes()
            body.append(UInt8(1))
            body.append(UInt64(0))
            body.append(UInt8(2))
            body.append(UInt8(0))
            body.append16(Array(prefix.utf8))
            body.append16(cursor)
            body.append(UInt32(0))
            body.append(UInt8(0))
            var page = try request(Kind.query, body)
            guard page.code == 0 else { throw RefusedRequest(code: page.code) }
            _ = try page.fields.readUInt64()
            let hasMore = try page.fields.readUInt8() == 1
            cursor = try page.fields.take(Int(page.fields.readUInt16()))
            for _ in 0..<(try page.fields.readUInt32()) {
                let key = try page.fields.take(Int(page.fields.readUInt16()))
                let revision = try page.fields.readUInt64()
                let value = try page.fields.take(Int(page.fields.readUInt32()))
                rows.append("\(String(decoding: key, as: UTF8.self)) \(revision) \(String(decoding: value, as: UTF8.self))")
            }
            if !hasMore { return rows }
        }
    }

    /// A createSequential of a session's first sequence, with everything that a retry must repeat.
    static func createSequential(
        prefix: String, value: String, session: [UInt8], openedAt: UInt64, isOneShot: Bool
    ) -> Bytes {
        var body = Bytes()
        body.append(UInt8(4))
        body.append(UInt8(isOneShot ? 3 : 1))
        body.append(contentsOf: session)
        body.append(UInt64(1))
        body.append(UInt64(0))
        body.append(openedAt)
        body.append(UInt32(30_000))
        body.append16(Array(prefix.utf8))
        body.append32(Array(value.utf8))
        return body
    }
}

/// A node answered with an error.
struct RefusedRequest: Error, CustomStringConvertible {
    var code: UInt16
    var description: String { "refused with code \(code)" }
}

/// A TCP connection whose every wait ends.
final class RawSocket {
    private let descriptor: Int32

    init(_ address: String, timeout: Duration = .seconds(10)) throws {
        guard let port = address.split(separator: ":").last.flatMap({ Int($0) }) else {
            throw TestFailure("\(address) has no port")
        }
        descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval()
        limit.tv_sec = Int(timeout.components.seconds)
        limit.tv_usec = Int(timeout.components.attoseconds / 1_000_000_000_000)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        var target = LoopbackAddress.of(port: port)
        let result = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let number = errno
            close(descriptor)
            throw TestFailure("cannot connect to \(address): \(String(cString: strerror(number)))")
        }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw TestFailure("send: \(String(cString: strerror(errno)))") }
            sent += count
        }
    }

    /// Nothing at the end of the connection, a reset included.
    func receive(atMost count: Int) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let received = recv(descriptor, &buffer, count, 0)
        if received < 0, errno == EAGAIN { throw TestFailure("nothing came in time") }
        return Array(buffer.prefix(max(0, received)))
    }

    /// Reads until the other side has closed the connection; what came is dropped.
    func waitUntilClosed() throws { while try !receive(atMost: 4_096).isEmpty {} }

    /// A frame without its length.
    func receiveFrame() throws -> Bytes {
        var length = Bytes(try receive(exactly: 4))
        return Bytes(try receive(exactly: Int(length.readUInt32())))
    }

    private func receive(exactly count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = try receive(atMost: count - bytes.count)
            guard !part.isEmpty else { throw TestFailure("the connection ended") }
            bytes += part
        }
        return bytes
    }
}

/// Little-endian fields, written at the end and read from the start.
struct Bytes {
    private(set) var all: [UInt8]
    private var offset = 0
    init(_ all: [UInt8] = []) { self.all = all }

    mutating func append(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.littleEndian) { all += $0 } }
    mutating func append(contentsOf bytes: [UInt8]) { all += bytes }

    mutating func append16(_ bytes: [UInt8]) {
        append(UInt16(bytes.count))
        all += bytes
    }

    mutating func append32(_ bytes: [UInt8]) {
        append(UInt32(bytes.count))
        all += bytes
    }

    mutating func take(_ count: Int) throws -> [UInt8] {
        guard all.count - offset >= count else { throw TestFailure("a reply is too short") }
        defer { offset += count }
        return Array(all[offset..<offset + count])
    }

    mutating func dropLast(_ count: Int) { all.removeLast(min(count, all.count)) }
    var isAtEnd: Bool { offset == all.count }
    mutating func readUInt8() throws -> UInt8 { try take(1)[0] }
    mutating func readUInt16() throws -> UInt16 { UInt16(try integer(2)) }
    mutating func readUInt32() throws -> UInt32 { UInt32(try integer(4)) }
    mutating func readUInt64() throws -> UInt64 { try integer(8) }

    private mutating func integer(_ count: Int) throws -> UInt64 {
        try take(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}

enum Frame {
    static func bytes(kind: UInt16, flags: UInt8 = 0, id: UInt64, body: Bytes) -> [UInt8] {
        var frame = Bytes()
        frame.append(UInt32(16 + body.all.count))
        frame.append(UInt8(1))
        frame.append(flags)
        frame.append(kind)
        frame.append(id)
        frame.append(contentsOf: body.all)
        frame.append(checksum(frame.all))
        return frame.all
    }

    /// CRC-32C, bit by bit: slow, and independent of the code under test.
    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var checksum = UInt32.max
        for byte in bytes {
            checksum ^= UInt32(byte)
            for _ in 0..<8 { checksum = checksum & 1 == 1 ? checksum >> 1 ^ 0x82F6_3B78 : checksum >> 1 }
        }
        return ~checksum
    }
}
