internal import Basics
package import NIOCore
internal import NIOSSL
package import Wire

/// What happens on a connection. Every call comes on the connection's event loop, and none from inside a call that the
/// owner makes to the connection: `close()` and `send` may end it at once, and the owner hears of that in a later turn,
/// so it may call them in the middle of changing its own state.
///
/// `closed` is the last call for a connection and comes exactly once, after `opened`; a dialled connection that is
/// never established has neither.
package protocol FrameConnectionDelegate: AnyObject {
    func opened(_ connection: FrameConnection)
    /// A whole frame with a right checksum. `body` is borrowed for the call. The frame may have arrived before a
    /// `pauseReading()` took hold; after `close()` none comes.
    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection)
    /// Everything that this wake-up of the loop read from the socket has been handed over: the place to send what was
    /// collected meanwhile, once.
    func readCompleted(on connection: FrameConnection)
    func writabilityChanged(_ connection: FrameConnection)
    func closed(_ connection: FrameConnection, reason: ConnectionEnd)
}

/// One TCP connection that carries frames: bytes in, whole checked frames out, and no decision about their meaning.
///
/// Frames are parsed in place, out of the buffer that the socket was read into; only the beginning of a frame whose end
/// has not come yet is copied and kept, never more than `frameSizeMax` bytes of it. The peer is a stranger until the
/// owner calls `handshakeFinished`: until then a frame may be only `Limits.frameSizeBeforeHelloMax` bytes and the whole
/// handshake may take `TransportSettings.handshakeTimeout`. A peer that breaks a rule loses this connection, and nobody
/// else notices.
///
/// Everything here is called on the connection's event loop.
package final class FrameConnection {
    /// Rises with each connection of the process; never used twice.
    package let id: UInt64
    /// The peer's address without its port: what limits per address count by.
    package let remoteHost: String
    /// For people: address and port.
    package let remoteAddress: String
    /// Largest frame that is accepted from the peer, header and checksum included.
    package private(set) var frameSizeMax = Limits.frameSizeBeforeHelloMax
    /// False from `close()` on, or when the socket has closed.
    package private(set) var isOpen = true

    /// Whom the peer's certificate names; nil without TLS.
    package let certificateIdentity: CertificateIdentity?

    private let context: TransportContext
    private let channel: any Channel
    private var delegate: (any FrameConnectionDelegate)?
    /// At the listener that let it in; nil for one that was dialled.
    private var place: ListenerPlace?
    private let handshakeDeadline: NIODeadline
    private var hasReceivedFrame = false
    private var pipelineContext: ChannelHandlerContext?
    /// The beginning of a frame that is not complete.
    private var partial = ByteBuffer()
    /// When that beginning came.
    private var partialSince = NIODeadline.distantPast
    /// Bytes of a frame that must have come in each second, on average, or the connection ends.
    private var frameRateMin: Int?
    private var lastByteReadAt = NIODeadline.distantPast
    private var silenceTimer: Scheduled<Void>?
    private var handshakeTimer: Scheduled<Void>?
    private var isReadingPaused = false
    private var isSending = false
    private var end: ConnectionEnd?

    init(
        on channel: any Channel, context: TransportContext, delegate: any FrameConnectionDelegate,
        place: ListenerPlace? = nil, identity: CertificateIdentity? = nil, handshakeDeadline: NIODeadline? = nil
    ) {
        self.channel = channel
        self.context = context
        self.delegate = delegate
        self.place = place
        certificateIdentity = identity
        self.handshakeDeadline =
            handshakeDeadline ?? .now() + .nanoseconds(context.settings.handshakeTimeout.nanoseconds)
        id = context.takeConnectionID()
        remoteHost = channel.remoteAddress?.ipAddress ?? "unknown"
        remoteAddress = channel.remoteAddress.map { HostPort.text(of: $0) } ?? "unknown"
    }

    /// Whether the peer may call itself the node `name`. Without TLS nobody can tell.
    package func maySpeak(forNode name: String) -> Bool { certificateIdentity?.nodes.contains(name) ?? true }

    // MARK: Sending

    /// Puts `bytes`, whole frames, on the wire: one write and one flush, so callers collect a turn's frames first.
    /// What the socket does not take at once waits in memory; above `TransportSettings.pendingWriteSizeMax` the peer is
    /// too slow for us and the connection ends. So does one that was let in when too much waits for all of those together.
    package func send(_ bytes: [UInt8]) {
        guard isOpen, let pipelineContext, !bytes.isEmpty else { return }
        var buffer = channel.allocator.buffer(capacity: bytes.count)
        buffer.writeBytes(bytes)
        isSending = true
        pipelineContext.writeAndFlush(NIOAny(buffer), promise: nil)
        isSending = false
        guard isOpen, !channel.isWritable else { return }
        let pending = pendingWriteBytes
        guard pending <= context.settings.pendingWriteSizeMax else { return giveUp(pendingBytes: pending) }
        guard place != nil else { return }
        context.slowReaders.note(self, pending)
        context.giveUpSlowReaders()
    }

    func giveUp(pendingBytes: Int) { close(because: .slowReader(pendingBytes: pendingBytes)) }

    /// False while more than the high-water mark of `TransportSettings` waits for the socket.
    package var isWritable: Bool { isOpen && channel.isWritable }

    /// Bytes given to `send` that the socket has not taken yet.
    package var pendingWriteBytes: Int {
        (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    // MARK: Control

    /// The peer has said who it is: from now on it may send frames of `frameSizeMax` bytes and take its time.
    ///
    /// - Parameter frameRateMin: bytes in a second at which a frame must come that is not there after
    ///   `TransportSettings.frameTimeMax`; nil: it may come as slowly as it likes, as long as it goes on. A length that
    ///   was damaged on the way claims frames as its body that never end it; where no reply is missed that would tell,
    ///   only this does.
    package func handshakeFinished(frameSizeMax: Int, frameRateMin: Int? = nil) {
        self.frameSizeMax = frameSizeMax
        self.frameRateMin = frameRateMin
        place?.handshakeFinished()
        handshakeTimer?.cancel()
        handshakeTimer = nil
    }

    /// Reads no more from the socket, so that the peer's own send queue fills. What was read already is still
    /// delivered.
    package func pauseReading() { setReadingPaused(true) }
    package func resumeReading() { setReadingPaused(false) }

    /// Ends the connection; what `send` was given before goes out first as far as the socket takes it at once.
    package func close() { close(because: .closedHere) }

    private func setReadingPaused(_ paused: Bool) {
        guard isOpen, isReadingPaused != paused else { return }
        isReadingPaused = paused
        // Time in which we did not listen is not the peer's silence.
        lastByteReadAt = .now()
        partialSince = lastByteReadAt
        try? channel.syncOptions?.setOption(.autoRead, value: !paused)
    }

    private func close(because reason: ConnectionEnd) {
        guard isOpen else { return }
        isOpen = false
        end = reason
        context.slowReaders.forget(self)
        context.counters.count(reason)
        channel.close(promise: nil)
    }

    // MARK: Reading

    private func parse(_ buffer: ByteBuffer) {
        lastByteReadAt = .now()
        guard partial.readableBytes > 0 else {
            let rest = deliverFrames(of: buffer)
            guard isOpen, rest < buffer.readableBytes else { return }
            partial.clear()
            partialSince = lastByteReadAt
            partial.writeImmutableBuffer(
                buffer.getSlice(at: buffer.readerIndex + rest, length: buffer.readableBytes - rest)!)
            watchForSilence()
            return
        }
        partial.writeImmutableBuffer(buffer)
        // The frames are read out of a second reference to the same storage, so that a delegate that comes back into
        // this connection finds it consistent.
        let whole = partial
        let consumed = deliverFrames(of: whole)
        guard isOpen else { return }
        if consumed == whole.readableBytes {
            partial = ByteBuffer()
        } else if consumed > 0 {
            partial = channel.allocator.buffer(capacity: whole.readableBytes - consumed)
            partialSince = lastByteReadAt
            partial.writeImmutableBuffer(
                whole.getSlice(at: whole.readerIndex + consumed, length: whole.readableBytes - consumed)!)
        }
    }

    /// Hands over every whole frame at the start of `buffer`; returns how many bytes they took.
    private func deliverFrames(of buffer: ByteBuffer) -> Int {
        let bytes = buffer.readableBytesSpan
        var offset = 0
        while isOpen {
            do throws(DecodeError) {
                guard
                    let frame = try FrameHeader.scan(
                        bytes.extracting(offset..<bytes.byteCount), sizeMax: frameSizeMax)
                else { return offset }
                context.counters.framesReceived &+= 1
                hasReceivedFrame = true
                offset += frame.totalSize
                delegate?.received(frame.header, body: frame.body, on: self)
            } catch {
                endBadly(error, bytes.extracting(offset...))
                return offset
            }
        }
        return offset
    }

    /// What is no frame may be a word about why there will be none.
    private func endBadly(_ error: DecodeError, _ bytes: RawSpan) {
        guard !hasReceivedFrame else { return close(because: .badFrame(error)) }
        let start = bytes.extracting(first: RefusalLine.sizeMax).withUnsafeBytes { Array($0) }
        if place == nil, let reason = RefusalLine.reason(in: start) {
            close(because: .refused("it refuses: \(reason)"))
        } else if certificateIdentity == nil, place == nil, TLSRecord.isAlert(start) {
            close(because: .refused(TLSFailure.needsTLS))
        } else if certificateIdentity == nil, place != nil, TLSRecord.isHello(start) {
            let line = channel.allocator.buffer(bytes: RefusalLine.bytes(TLSFailure.hasNoTLS))
            pipelineContext?.writeAndFlush(NIOAny(line), promise: nil)
            close(because: .unexpectedTLS)
        } else {
            close(because: .badFrame(error))
        }
    }

    // MARK: Timers

    /// Runs while a frame is incomplete: one timer for many reads, moved on when it finds that bytes have come since.
    private func watchForSilence() {
        guard silenceTimer == nil else { return }
        let interval = frameRateMin == nil ? context.settings.frameSilenceMax : context.settings.frameTimeMax
        silenceTimer = schedule(after: interval) { $0.silenceTimerFired() }
    }

    /// Until when the frame whose beginning is here must be whole.
    private var frameDeadline: NIODeadline {
        guard let frameRateMin else { return .distantFuture }
        // A frame that has not even said its length has the time of the shortest.
        let claimed = partial.getInteger(at: partial.readerIndex, endianness: .little, as: UInt32.self) ?? 0
        let seconds = Int64(claimed) / Int64(frameRateMin)
        return partialSince + .nanoseconds(context.settings.frameTimeMax.nanoseconds) + .seconds(seconds)
    }

    private func silenceTimerFired() {
        silenceTimer = nil
        guard isOpen, partial.readableBytes > 0 else { return }
        let silence = NIODeadline.now() - lastByteReadAt
        let isInTime = silence.nanoseconds < context.settings.frameSilenceMax.nanoseconds && .now() < frameDeadline
        guard isReadingPaused || isInTime else { return close(because: .silentInsideFrame) }
        watchForSilence()
    }

    private func inLaterTurn(_ body: @escaping (FrameConnection) -> Void) {
        let bound = NIOLoopBound((self, body), eventLoop: channel.eventLoop)
        channel.eventLoop.execute {
            let (connection, body) = bound.value
            body(connection)
        }
    }

    private func schedule(after interval: Interval, _ body: @escaping (FrameConnection) -> Void) -> Scheduled<Void> {
        schedule(after: TimeAmount.nanoseconds(interval.nanoseconds), body)
    }

    private func schedule(after interval: TimeAmount, _ body: @escaping (FrameConnection) -> Void) -> Scheduled<Void> {
        let bound = NIOLoopBound((self, body), eventLoop: channel.eventLoop)
        return channel.eventLoop.scheduleTask(in: interval) {
            let (connection, body) = bound.value
            body(connection)
        }
    }
}

extension FrameConnection: ChannelInboundHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    package func handlerAdded(context: ChannelHandlerContext) { pipelineContext = context }
    package func handlerRemoved(context: ChannelHandlerContext) { pipelineContext = nil }

    package func channelActive(context: ChannelHandlerContext) {
        handshakeTimer = schedule(after: handshakeDeadline - .now()) { connection in
            connection.handshakeTimer = nil
            connection.close(because: .handshakeTimeout)
        }
        self.context.counters.connectionsOpened &+= 1
        delegate?.opened(self)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard isOpen else { return }
        parse(Self.unwrapInboundIn(data))
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        if isOpen { delegate?.readCompleted(on: self) }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if channel.isWritable { self.context.slowReaders.forget(self) }
        guard isSending else {
            if isOpen { delegate?.writabilityChanged(self) }
            return
        }
        inLaterTurn { connection in
            if connection.isOpen { connection.delegate?.writabilityChanged(connection) }
        }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let files = self.context.tls?.files, certificateIdentity != nil else {
            return close(because: .failed(describe(error)))
        }
        // An end without TLS's own farewell: a process that died says none. What follows is the end itself.
        if case .uncleanShutdown? = error as? NIOSSLError { return }
        if error is IOError { return close(because: endUnheard ?? .failed(describe(error))) }
        // A verdict on our certificate comes only now: in TLS 1.3 the side that dials is done before it is heard.
        let reason = TLSFailure.describe(error, certificate: nil, files: files, isAccepting: place != nil)
        close(because: .refused(reason))
    }

    /// The end of a connection that this side dialled over TLS, and that ended before a frame came.
    private var endUnheard: ConnectionEnd? {
        certificateIdentity != nil && place == nil && !hasReceivedFrame ? .refused(TLSFailure.endedUnheard) : nil
    }

    package func channelInactive(context: ChannelHandlerContext) {
        if isOpen {
            isOpen = false
            let reason = partial.readableBytes > 0 ? .cutInsideFrame : endUnheard ?? .closedByPeer
            end = reason
            self.context.counters.count(reason)
        }
        self.context.slowReaders.forget(self)
        silenceTimer?.cancel()
        handshakeTimer?.cancel()
        (silenceTimer, handshakeTimer) = (nil, nil)
        partial = ByteBuffer()
        place?.leave(because: end ?? .closedByPeer)
        place = nil
        inLaterTurn { connection in
            let delegate = connection.delegate
            connection.delegate = nil
            delegate?.closed(connection, reason: connection.end ?? .closedByPeer)
        }
    }
}

/// Moves on one event loop only, and says so where NIO asks.
@available(*, unavailable)
extension FrameConnection: Sendable {}
