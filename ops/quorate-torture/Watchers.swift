internal import Client
internal import Synchronization

/// What a watch has told: the first one all of it, the others what is needed to compare them with it.
final class Watcher: Sendable {
    struct Told: Sendable {
        var revision: UInt64
        var changes: [WatchedChanges.Change]
    }

    private struct State {
        var told: [Told] = []
        var through: UInt64 = 0
        var beginnings = 0
        var wrong: String?
    }

    let name: String
    let prefix: [UInt8]
    /// How long one watch lasts before the next goes on where it was; nil: for ever.
    private let lasts: Duration?
    private let endpoints: Mutex<[String]>
    private let state = Mutex(State())

    init(_ name: String, prefix: String, lasts: Duration?, endpoints: [String]) {
        self.name = name
        self.prefix = Array(prefix.utf8)
        self.lasts = lasts
        self.endpoints = Mutex(endpoints)
    }

    var told: [Told] { state.withLock { $0.told } }
    var through: UInt64 { state.withLock { $0.through } }
    var beginnings: Int { state.withLock { $0.beginnings } }
    var wrong: String? { state.withLock { $0.wrong } }

    /// The members have changed.
    func setEndpoints(_ new: [String]) { endpoints.withLock { $0 = new } }

    func run() async {
        while !Task.isCancelled, wrong == nil {
            // Each at another node, as far as it has its way.
            let order = endpoints.withLock { $0.shuffled() }
            let client = MetadataClient(MetadataClientConfiguration(endpoints: order))
            let reading = Task { await read(client) }
            if let lasts {
                let end = Task {
                    try await Task.sleep(for: lasts)
                    reading.cancel()
                }
                await withTaskCancellationHandler { await reading.value } onCancel: { reading.cancel() }
                end.cancel()
            } else {
                await withTaskCancellationHandler { await reading.value } onCancel: { reading.cancel() }
            }
            await client.shutdown()
        }
    }

    private func read(_ client: MetadataClient) async {
        let from = through + 1
        state.withLock { $0.beginnings += 1 }
        do throws(ClientError) {
            let watch = client.watch(
                prefix: prefix, from: from, progressEvery: .milliseconds(500), timeout: .seconds(60))
            for try await changes in watch { note(changes) }
        } catch {
            guard error.code == .cancelled || error.isRetryable || error.code == .timeout else {
                return state.withLock { $0.wrong = "it ended: \(error)" }
            }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    private func note(_ changes: WatchedChanges) {
        state.withLock { state in
            guard !changes.changes.isEmpty else {
                guard changes.revision >= state.through else {
                    state.wrong = state.wrong ?? "it says it has come to \(changes.revision), after \(state.through)"
                    return
                }
                state.through = changes.revision
                return
            }
            guard changes.revision > state.through else {
                state.wrong = state.wrong ?? "it tells revision \(changes.revision) after \(state.through)"
                return
            }
            state.through = changes.revision
            state.told.append(Told(revision: changes.revision, changes: changes.changes))
        }
    }
}
