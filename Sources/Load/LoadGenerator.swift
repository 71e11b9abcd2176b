internal import Basics
internal import NIOCore
internal import NIOPosix
internal import Transport

/// Loads a cluster and measures what it does. It speaks the protocol itself, with as little work for a request as it
/// can, because it may share the machine with what it measures.
package enum LoadGenerator {
    /// - Parameter windows: names of windows, each of which begins when its name comes; the run ends when they do. Nil:
    ///   the run ends by itself.
    package static func run(
        _ plan: LoadPlan, windows: AsyncStream<String>? = nil
    ) async throws(LoadFailure) -> LoadReport {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let outcome = loop.makePromise(of: Result<LoadReport, LoadFailure>.self)
        let run = loop.submit {
            let tls = plan.tls.map { TLSSource(files: $0, owner: .client) }
            let run = LoadRun(plan, context: TransportContext(eventLoop: loop, tls: tls)) { outcome.succeed($0) }
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
        do {
            return try await outcome.futureResult.get().get()
        } catch let failure as LoadFailure {
            throw failure
        } catch {
            throw LoadFailure(kind: .unavailable, message: "\(error)")
        }
    }
}
