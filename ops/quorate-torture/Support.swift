internal import Basics
internal import Glibc

/// Why the run cannot go on; that is no verdict on the cluster.
struct TortureFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

enum Clock {
    /// Nanoseconds on a clock that all processes of the machine share.
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// One stream of chance, drawn from the seed of the run.
struct Chance: Sendable {
    private var generator: SplitMix64

    init(seed: UInt64, stream: UInt64) {
        var mixer = SplitMix64(seed: seed ^ stream &* 0xD1B5_4A32_D192_ED03)
        generator = SplitMix64(seed: mixer.next())
    }

    mutating func happens(percent: Int) -> Bool { number(in: 0...99) < percent }
    mutating func number(in range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
    mutating func pick<T>(_ list: [T]) -> T { list[number(in: 0...list.count - 1)] }
    mutating func pause(_ low: Int, _ high: Int) -> Duration { .milliseconds(number(in: low...high)) }
}

/// What `body` gives once it gives something.
func eventually<Value>(
    _ claim: String, within timeout: Duration, _ body: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + timeout
    var last = ""
    while true {
        do {
            if let value = try await body() { return value }
            last = ""
        } catch {
            last = "; last: \(error)"
        }
        guard ContinuousClock.now < deadline else { throw TortureFailure("not within \(timeout): \(claim)\(last)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}

enum Ports {
    /// Below the range from which Linux takes ports for outgoing connections.
    private static let candidates = 12_000..<32_000

    /// `count` ports of the loopback address that nobody uses.
    static func free(_ count: Int) throws -> [Int] {
        var ports: Set<Int> = []
        for _ in 0..<10_000 where ports.count < count {
            let port = Int.random(in: candidates)
            if let descriptor = Socket.listening(at: port) {
                close(descriptor)
                ports.insert(port)
            }
        }
        guard ports.count == count else { throw TortureFailure("no free ports in \(candidates)") }
        return Array(ports)
    }
}

/// TCP on the loopback address, by the calls of the system.
enum Socket {
    static func make() -> Int32 {
        Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    }

    private static func withAddress(_ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    static func listening(at port: Int) -> Int32? {
        let descriptor = make()
        guard withAddress(port, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 128) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    static func connected(to port: Int) -> Int32? {
        let descriptor = make()
        guard withAddress(port, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    static func sendAll(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }
}

enum Threads {
    static func run(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Body(run: body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        guard result == 0 else { fatalError("no thread: \(result)") }
        pthread_detach(thread)
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
