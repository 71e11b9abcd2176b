import Basics
import Glibc
import Synchronization

/// Stands between two that speak TCP on loopback, and flips a bit of what they say to each other now and then, or keeps it
/// to itself for a while.
///
/// Which bit is drawn from a seed; which byte it hits depends on how the bytes arrive, as on a real wire.
final class FlippingProxy: Sendable {
    /// Where the others are to connect to.
    let address: String
    private let target: String
    private let listener: Int32
    private let state: Mutex<State>

    private struct State {
        var random: SplitMix64
        /// Nil: bytes go through as they are.
        var bytesBetweenFlips: Int?
        var bytesLeft = 0
        var flipCount = 0
        var lengthensNext = false
        var isHolding = false
        var isHoldingReplies = false
        var connectionCount = 0
        /// What connections up to this one say is taken and leads nowhere.
        var swallowedThrough = 0
        var isOver = false
        var open: Set<Int32> = []

        func isKeeping(isToTarget: Bool) -> Bool { isHolding || isHoldingReplies && !isToTarget }

        /// Makes the length of a frame at the start of `buffer` a mebibyte longer, if that is asked for.
        mutating func lengthen(_ buffer: inout [UInt8], _ count: Int) {
            // A short frame of version 1, as docs/PROTOCOL.md has it.
            guard lengthensNext, count > 20, buffer[2] == 0, buffer[3] == 0, buffer[4] == 1 else { return }
            buffer[2] |= 0x10
            lengthensNext = false
        }

        /// Flips what is due in the first `count` bytes of `buffer`.
        mutating func damage(_ buffer: inout [UInt8], _ count: Int) {
            guard let mean = bytesBetweenFlips else { return }
            var place = 0
            while count - place > bytesLeft {
                place += bytesLeft
                buffer[place] ^= 1 << UInt8(random.next() % 8)
                flipCount += 1
                // Between half and one and a half of the mean.
                bytesLeft = max(1, mean / 2 + Int(random.next() % UInt64(max(1, mean))))
            }
            bytesLeft -= count - place
        }
    }

    init(to target: String, seed: UInt64) throws {
        self.target = target
        let port = try Ports.free(1)[0]
        address = "127.0.0.1:\(port)"
        state = Mutex(State(random: SplitMix64(seed: seed)))
        listener = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var own = LoopbackAddress.of(port: port)
        let bound = withUnsafePointer(to: &own) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0, listen(listener, 128) == 0 else { throw TestFailure("no proxy at \(address)") }
        Self.onThread { [listener, weak self] in
            while true {
                let caller = accept(listener, nil, nil)
                guard caller >= 0, let self else { return }
                self.connect(caller)
            }
        }
    }

    deinit { stop() }

    /// From now on one bit in about so many bytes, counted over both directions of all connections.
    func flip(every bytes: Int?) {
        state.withLock {
            $0.bytesBetweenFlips = bytes
            $0.bytesLeft = bytes ?? 0
        }
    }

    /// The next frame on its way to the target says that it is a mebibyte longer than it is.
    func lengthenNextFrame() { state.withLock { $0.lengthensNext = true } }
    var hasLengthened: Bool { state.withLock { !$0.lengthensNext } }

    /// A partition: while it lasts, nothing gets through in either direction, and no connection ends.
    func hold(_ isHolding: Bool) { state.withLock { $0.isHolding = isHolding } }

    /// Likewise, but only for what comes back.
    func holdReplies(_ isHolding: Bool) { state.withLock { $0.isHoldingReplies = isHolding } }
    /// Every connection that is there now takes what either side says and passes nothing on, for as long as it lasts;
    /// those made from now on are sound.
    func swallow() { state.withLock { $0.swallowedThrough = $0.connectionCount } }

    var flipCount: Int { state.withLock { $0.flipCount } }

    /// Ends every connection; nobody is let in any more.
    func stop() {
        let descriptors = state.withLock { state -> Set<Int32> in
            guard !state.isOver else { return [] }
            state.isOver = true
            return state.open.union([listener])
        }
        for descriptor in descriptors { shutdown(descriptor, Int32(SHUT_RDWR)) }
        if !descriptors.isEmpty { close(listener) }
    }

    private func connect(_ caller: Int32) {
        let other = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var place = LoopbackAddress.of(port: target.split(separator: ":").last.flatMap { Int($0) } ?? 0)
        let result = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(other, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        let number = state.withLock { state -> Int? in
            guard result == 0, !state.isOver else { return nil }
            state.open.formUnion([caller, other])
            state.connectionCount += 1
            return state.connectionCount
        }
        guard let number else {
            close(caller)
            close(other)
            return
        }
        var isOn: Int32 = 1
        for descriptor in [caller, other] {
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        }
        let directionsLeft = Counter(2)
        for (source, sink) in [(caller, other), (other, caller)] {
            Self.onThread { [self] in
                pump(number, source, sink, isToTarget: sink == other)
                shutdown(source, Int32(SHUT_RDWR))
                shutdown(sink, Int32(SHUT_RDWR))
                guard directionsLeft.countDown() else { return }
                state.withLock { $0.open.subtract([caller, other]) }
                close(caller)
                close(other)
            }
        }
    }

    private func pump(_ number: Int, _ source: Int32, _ sink: Int32, isToTarget: Bool) {
        var buffer = [UInt8](repeating: 0, count: 64 * 1_024)
        while true {
            let count = recv(source, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            if state.withLock({ $0.swallowedThrough >= number }) { continue }
            while state.withLock({ $0.isKeeping(isToTarget: isToTarget) && !$0.isOver }) { usleep(2_000) }
            state.withLock {
                $0.damage(&buffer, count)
                if isToTarget { $0.lengthen(&buffer, count) }
            }
            var sent = 0
            while sent < count {
                let written = buffer[sent..<count].withUnsafeBytes {
                    send(sink, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard written > 0 else { return }
                sent += written
            }
        }
    }

    private final class Counter: Sendable {
        private let left: Mutex<Int>
        init(_ count: Int) { left = Mutex(count) }

        /// Whether it was the last.
        func countDown() -> Bool {
            left.withLock {
                $0 -= 1
                return $0 == 0
            }
        }
    }

    private static func onThread(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Body(run: body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            fatalError("no thread for a proxy: \(result)")
        }
        pthread_detach(thread)
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
