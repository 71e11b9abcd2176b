internal import Basics
internal import NIOCore
internal import NIOPosix
internal import Transport

/// Loads a cluster and measures what it does. It speaks the protocol itself, with as little work for a request as it
/// can, because it may share the machine with what it measures.
package enum LoadGenerator {
    /// - Parameters:
    ///   - windows: names of windows, each of which begins when its name comes; the run ends when they do. Nil: the run
    ///     ends by itself.
    ///   - began: called when the measurement begins.
    package static func run(
        _ plan: LoadPlan, windows: AsyncStream<String>? = nil, began: @escaping @Sendable () -> Void = {}
    ) async throws(LoadFailure) -> LoadReport {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let outcome = loop.makePromise(of: Result<LoadReport, LoadFailure>.self)
        let run = loop.submit {
            let context = TransportContext(eventLoop: loop, of: plan)
            let run = LoadRun(plan, context: context, began: began) { outcome.succeed($0) }
            run.start()
            return NIOLoopBound(run, eventLoop: loop)
        }
        let listening = windows.map { windows in
            Task {
                let run = try await run.get()
                for await name in windows { loop.execute { run.value.beginWindow(name) } }
                if !Task.isCancelled { loop.execute { run.value.end() } }
            }
        }
        defer { listening?.cancel() }
        return try await outcome.futureResult.outcome()
    }
}

extension TransportContext {
    convenience init(eventLoop: any EventLoop, of plan: LoadPlan) {
        self.init(eventLoop: eventLoop, tls: plan.tls.map { TLSSource(files: $0, owner: .client) })
    }
}

extension EventLoopFuture {
    /// What was promised, for those who are not on its loop.
    func outcome<Success: Sendable>() async throws(LoadFailure) -> Success where Value == Result<Success, LoadFailure> {
        let result: Result<Success, LoadFailure>
        do {
            result = try await get()
        } catch {
            throw LoadFailure(kind: .unavailable, message: "\(error)")
        }
        return try result.get()
    }
}
