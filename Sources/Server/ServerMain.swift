internal import Basics
internal import Disk
internal import Foundation
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// One node as a process: directory, sockets, threads and signals, from start to exit code.
package enum ServerMain {
    /// Runs until SIGTERM or SIGINT, or until the node cannot go on.
    /// - Returns: 0 after a graceful stop, 1 after a failure; the reason has been logged.
    package static func run(_ configuration: ServerConfiguration) async -> Int32 {
        let logger = makeLogger(configuration)
        do {
            try configuration.validate()
        } catch {
            logger.error("\(error)")
            return 1
        }
        // A write past a file-size limit is to be an error, which is handled, and not a signal.
        signal(SIGXFSZ, SIG_IGN)
        signal(SIGPIPE, SIG_IGN)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let exit = ExitSignal()
        let sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { exit.finish(0) }
            source.resume()
            return source
        }
        let code: Int32
        var process: NodeProcess?
        do {
            let started = try NodeProcess(configuration, loop: group.next(), logger: logger, exit: exit)
            process = started
            try await started.start()
            code = await exit.wait()
            await started.stop(gracefully: code == 0)
        } catch {
            logger.error("\(error)")
            code = 1
        }
        for source in sources { source.cancel() }
        try? await group.shutdownGracefully()
        // Connections that end while the loop winds up still tell it so.
        withExtendedLifetime(process) {}
        return code
    }

    private static func makeLogger(_ configuration: ServerConfiguration) -> Logger {
        var logger =
            switch configuration.logFormat {
            case .text: Logger(label: "quorate", factory: { StreamLogHandler.standardError(label: $0) })
            case .json: Logger(label: "quorate", factory: { _ in JSONLogHandler() })
            }
        logger.logLevel =
            switch configuration.logLevel {
            case .trace: .trace
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            }
        logger[metadataKey: "node"] = "\(configuration.name)"
        return logger
    }
}

/// Set once, by a signal or a failure; the first reason counts.
final class ExitSignal: Sendable {
    private struct State {
        var code: Int32?
        var waiter: CheckedContinuation<Int32, Never>?
    }
    private let state = Mutex(State())

    func finish(_ code: Int32) {
        let waiter = state.withLock { state -> CheckedContinuation<Int32, Never>? in
            guard state.code == nil else { return nil }
            state.code = code
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: code)
    }

    func wait() async -> Int32 {
        await withCheckedContinuation { continuation in
            let code = state.withLock { state -> Int32? in
                if state.code == nil { state.waiter = continuation }
                return state.code
            }
            if let code { continuation.resume(returning: code) }
        }
    }
}
