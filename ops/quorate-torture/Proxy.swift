internal import Basics
internal import Glibc
internal import Synchronization
internal import Wire

/// What is done to the links between nodes at present.
final class Links: Sendable {
    struct Rules: Sendable {
        /// From one node to another: nothing arrives, and no connection ends.
        var held: Set<Link> = []
        /// Connections are refused, and those that were there have ended.
        var cut: Set<Link> = []
        /// Milliseconds that everything waits.
        var delays: [Link: Int] = [:]
    }

    struct Link: Hashable, Sendable {
        var from: String
        var to: String
    }

    private let rules = Mutex(Rules())

    func change(_ body: (inout Rules) -> Void) { rules.withLock { body(&$0) } }
    func heal() { rules.withLock { $0 = Rules() } }
    func isHeld(_ link: Link) -> Bool { rules.withLock { $0.held.contains(link) } }
    func isCut(_ link: Link) -> Bool { rules.withLock { $0.cut.contains(link) } }
    func delay(_ link: Link) -> Int { rules.withLock { $0.delays[link] ?? 0 } }
}

/// Stands before the peer port of one node; the others know no other address of it. Who calls stands in the first
/// frame.
final class Proxy: Sendable {
    let node: String
    let port: Int
    private let target: Int
    private let links: Links
    private let listener: Int32
    private let state = Mutex(State())

    private struct Pair: Hashable {
        var caller: Int32
        var callerName: String
        var other: Int32
    }

    private struct State {
        var isOver = false
        var pairs: Set<Pair> = []
        /// The node's side is gone, and the caller has not been told.
        var halfOpen: Set<Pair> = []
    }

    init(before node: String, target: Int, links: Links) throws {
        self.node = node
        self.target = target
        self.links = links
        port = try Ports.free(1)[0]
        guard let listener = Socket.listening(at: port) else { throw TortureFailure("port \(port) is taken") }
        self.listener = listener
        Threads.run { [listener, weak self] in
            while true {
                let caller = accept(listener, nil, nil)
                guard caller >= 0 else { return }
                _ = fcntl(caller, F_SETFD, FD_CLOEXEC)
                guard let self else {
                    close(caller)
                    return
                }
                Threads.run { self.serve(caller) }
            }
        }
    }

    deinit { stop() }

    /// Ends every connection, and lets nobody in any more.
    func stop() {
        let isFirst = state.withLock { state in
            defer { state.isOver = true }
            return !state.isOver
        }
        guard isFirst else { return }
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        reset { _ in true }
    }

    /// Ends the connections of those callers.
    func reset(_ concerns: (String) -> Bool) {
        state.withLock { state in
            for pair in state.pairs where concerns(pair.callerName) {
                shutdown(pair.caller, Int32(SHUT_RDWR))
                shutdown(pair.other, Int32(SHUT_RDWR))
            }
        }
    }

    /// The node loses its side of the connections, and those who called are not told: they find out by themselves.
    func halfClose(_ concerns: (String) -> Bool) {
        state.withLock { state in
            for pair in state.pairs where concerns(pair.callerName) {
                state.halfOpen.insert(pair)
                shutdown(pair.other, Int32(SHUT_RDWR))
            }
        }
    }

    private func serve(_ caller: Int32) {
        var buffer = [UInt8](repeating: 0, count: 64 * 1_024)
        var first: [UInt8] = []
        var name: String?
        while name == nil {
            let count = recv(caller, &buffer, buffer.count, 0)
            guard count > 0, first.count < 1 << 20 else {
                close(caller)
                return
            }
            first += buffer[..<count]
            name = Self.sender(first)
        }
        guard let name, !links.isCut(.init(from: name, to: node)), let other = Socket.connected(to: target) else {
            close(caller)
            return
        }
        let pair = Pair(caller: caller, callerName: name, other: other)
        let isWelcome = state.withLock { state in
            if !state.isOver { state.pairs.insert(pair) }
            return !state.isOver
        }
        guard isWelcome else {
            close(caller)
            close(other)
            return
        }
        var isOn: Int32 = 1
        for descriptor in [caller, other] {
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        }
        let left = Countdown(2)
        let opening = first
        Threads.run { [self] in
            pump(other, caller, .init(from: node, to: name), [])
            finish(pair, left)
        }
        pump(caller, other, .init(from: name, to: node), opening)
        // Whoever was not told goes on to send, until it gives up.
        while state.withLock({ $0.halfOpen.contains(pair) }), recv(caller, &buffer, buffer.count, 0) > 0 {}
        state.withLock { _ = $0.halfOpen.remove(pair) }
        finish(pair, left)
    }

    private func finish(_ pair: Pair, _ left: Countdown) {
        state.withLock { state in
            if !state.halfOpen.contains(pair) { shutdown(pair.caller, Int32(SHUT_RDWR)) }
            shutdown(pair.other, Int32(SHUT_RDWR))
            guard left.isLast() else { return }
            state.pairs.remove(pair)
            close(pair.caller)
            close(pair.other)
        }
    }

    private final class Countdown: Sendable {
        private let left: Mutex<Int>

        init(_ count: Int) { left = Mutex(count) }

        func isLast() -> Bool {
            left.withLock {
                $0 -= 1
                return $0 == 0
            }
        }
    }

    private func pump(_ source: Int32, _ sink: Int32, _ link: Links.Link, _ opening: [UInt8]) {
        guard Socket.sendAll(opening[...], to: sink) else { return }
        var buffer = [UInt8](repeating: 0, count: 64 * 1_024)
        while true {
            let count = recv(source, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            let delay = links.delay(link)
            if delay > 0 { usleep(UInt32(delay) * 1_000) }
            while links.isHeld(link), !state.withLock({ $0.isOver }) { usleep(2_000) }
            guard Socket.sendAll(buffer[..<count], to: sink) else { return }
        }
    }

    /// Nil: more of the frame has to come. While a cluster is founded nobody says who he is.
    private static func sender(_ bytes: [UInt8]) -> String? {
        guard let scan = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 20) else { return nil }
        guard let received = try? PeerMessage.decode(scan.header, body: scan.body),
            case .hello(let hello) = received.message
        else { return "" }
        return hello.name
    }
}
