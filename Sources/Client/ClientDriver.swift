internal import Basics
internal import ClientCore
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// Carries out what `ClientState` decides, on one event loop: sockets, timers, and the continuations of callers.
///
/// Unchecked: everything in it is touched on `eventLoop` only.
final class ClientDriver: @unchecked Sendable {
    let eventLoop: any EventLoop
    private let context: TransportContext
    private let connectTimeout: Interval
    private var state: ClientState
    private var connections: [ConnectionID: FrameConnection] = [:]
    /// By the transport's number, for what comes from below.
    private var names: [UInt64: ConnectionID] = [:]
    private var dialing: Set<ConnectionID> = []
    private var waiting: [CallID: CheckedContinuation<CallOutcome, Never>] = [:]
    /// Calls that were cancelled before they came here.
    private var cancelledEarly: Set<CallID> = []
    private var inboxes: [WatchID: WatchInbox] = [:]
    private var observers: [UInt64: AsyncStream<SessionState>.Continuation] = [:]
    private var nextObserver: UInt64 = 0
    private var timer: (due: Instant, task: Scheduled<Void>)?
    private var isTurnPending = false

    init(settings: ClientSettings, tls: TLSFiles?, eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        context = TransportContext(eventLoop: eventLoop, tls: tls.map { TLSSource(files: $0, owner: .client) })
        connectTimeout = settings.connectTimeout
        state = ClientState(
            settings: settings, seed: UInt64.random(in: .min ... .max), idSeed: UInt64.random(in: .min ... .max),
            now: Self.now)
    }

    private static var now: Instant { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    // MARK: From callers

    func submit(
        _ id: CallID, _ call: Call, timeout: Interval, continuation: CheckedContinuation<CallOutcome, Never>
    ) {
        waiting[id] = continuation
        let now = Self.now
        state.step(.submitted(id, call, deadline: now + timeout), now: now)
        if cancelledEarly.remove(id) != nil { state.step(.cancelled(id), now: now) }
        scheduleTurn()
    }

    func cancel(_ id: CallID) {
        if waiting[id] == nil {
            cancelledEarly.insert(id)
        } else {
            state.step(.cancelled(id), now: Self.now)
            scheduleTurn()
        }
    }

    /// The call has come back: a cancellation that comes later means nothing.
    func forget(_ id: CallID) { cancelledEarly.remove(id) }

    // MARK: Watches

    func watch(_ id: WatchID, _ options: WatchOptions, timeout: Interval) {
        inboxes[id] = WatchInbox()
        let now = Self.now
        state.step(.watchBegun(id, options, deadline: now + timeout), now: now)
        scheduleTurn()
    }

    func takeNews(
        of id: WatchID, afterReading size: Int, _ continuation: CheckedContinuation<[WatchNews], Never>
    ) {
        guard inboxes[id] != nil else { return continuation.resume(returning: []) }
        if size > 0 {
            state.step(.watchRead(id, size), now: Self.now)
            scheduleTurn()
        }
        inboxes[id]?.take(continuation)
    }

    func cancelWatch(_ id: WatchID) {
        guard var inbox = inboxes.removeValue(forKey: id) else { return }
        inbox.end()
        state.step(.watchCancelled(id), now: Self.now)
        scheduleTurn()
    }

    func close() {
        state.step(.closing, now: Self.now)
        for observer in observers.values { observer.finish() }
        observers = [:]
        scheduleTurn()
    }

    func observe(_ continuation: AsyncStream<SessionState>.Continuation) {
        let number = nextObserver
        nextObserver += 1
        observers[number] = continuation
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            self.eventLoop.execute { self.observers[number] = nil }
        }
    }

    /// As of now: a session whose time has passed while nobody looked is over. Nil: this client has another one, or none.
    func state(of session: SessionID) -> SessionState? {
        state.step(.deadlineReached, now: Self.now)
        carryOut()
        guard state.sessionID == session else { return nil }
        return state.sessionState.flatMap { SessionState(rawValue: $0.rawValue) }
    }

    // MARK: Effects

    /// One turn for everything that was submitted in this tick of the loop, so that its frames leave in one write.
    private func scheduleTurn() {
        guard !isTurnPending else { return }
        isTurnPending = true
        eventLoop.execute {
            self.isTurnPending = false
            self.carryOut()
        }
    }

    private func carryOut() {
        var effects = state.takeEffects()
        while !effects.isEmpty {
            for effect in effects { carryOut(effect) }
            // What an effect brought about at once (an address that is none) may have had effects of its own.
            effects = state.takeEffects()
        }
        setTimer()
    }

    private func carryOut(_ effect: ClientEffect) {
        switch effect {
        case .connect(let id, let address): connect(id, address)
        case .close(let id):
            dialing.remove(id)
            guard let connection = connections.removeValue(forKey: id) else { return }
            names[connection.id] = nil
            connection.close()
        case .send(let id, let bytes): connections[id]?.send(bytes)
        case .complete(let id, let outcome): waiting.removeValue(forKey: id)?.resume(returning: outcome)
        case .watch(let id, let news): inboxes[id]?.add(news)
        case .session(let event):
            guard let state = SessionState(rawValue: event.state.rawValue) else { return }
            for number in observers.keys.sorted() { observers[number]?.yield(state) }
        }
    }

    private func connect(_ id: ConnectionID, _ address: String) {
        guard let target = HostPort(address) else {
            return state.step(.disconnected(id, .unreachable("\(address) is not HOST:PORT")), now: Self.now)
        }
        dialing.insert(id)
        Dialer.connect(to: target, timeout: connectTimeout, context: context, delegate: self) { [weak self] result in
            self?.dialed(id, result)
        }
    }

    private func dialed(_ id: ConnectionID, _ result: Result<FrameConnection, ConnectFailure>) {
        guard dialing.remove(id) != nil else {
            // Given up meanwhile.
            if case .success(let connection) = result { connection.close() }
            return
        }
        switch result {
        case .success(let connection):
            connections[id] = connection
            names[connection.id] = id
            state.step(.connected(id), now: Self.now)
        case .failure(let failure):
            state.step(.disconnected(id, LinkEnd(failure)), now: Self.now)
        }
        carryOut()
    }

    private func setTimer() {
        let due = state.nextDeadline
        if let timer, timer.due == due { return }
        timer?.task.cancel()
        timer = nil
        guard due != .never else { return }
        let task = eventLoop.scheduleTask(deadline: .uptimeNanoseconds(due.nanoseconds)) {
            self.timer = nil
            self.state.step(.deadlineReached, now: Self.now)
            self.carryOut()
        }
        timer = (due, task)
    }
}

extension ClientDriver: FrameConnectionDelegate {
    func opened(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        guard let id = names[connection.id] else { return }
        // The first frame is the answer to the greeting: from here on the node may send replies of any size.
        if connection.frameSizeMax < Limits.frameSizeMaxCeiling {
            connection.handshakeFinished(frameSizeMax: Limits.frameSizeMaxCeiling)
        }
        state.receive(header, body: body, on: id, now: Self.now)
    }

    func readCompleted(on connection: FrameConnection) { carryOut() }
    func writabilityChanged(_ connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        guard let id = names.removeValue(forKey: connection.id) else { return }
        connections[id] = nil
        state.step(.disconnected(id, LinkEnd(reason)), now: Self.now)
        scheduleTurn()
    }
}

extension LinkEnd {
    fileprivate init(_ failure: ConnectFailure) {
        switch failure {
        case .refused: self = .refused
        case .timedOut: self = .timedOut
        case .unreachable: self = .unreachable("no route")
        case .unknownHost(let host): self = .unreachable("unknown host \(host)")
        case .failed(let why), .untrusted(let why): self = .unreachable(why)
        }
    }

    fileprivate init(_ end: ConnectionEnd) {
        switch end {
        case .badFrame(let error): self = .badFrame(error.description)
        case .handshakeTimeout, .silentInsideFrame: self = .timedOut
        case .refused(let why): self = .unreachable(why)
        case .closedHere, .closedByPeer, .cutInsideFrame, .failed, .unexpectedTLS, .slowReader: self = .closed
        }
    }
}
