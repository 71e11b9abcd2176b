internal import Basics
internal import ClientCore
internal import MetadataModel

/// Previous values in the workload, in worlds with watches: history is switched on and off for some prefixes, and what
/// watches say of the row before a change is held against what was committed.
extension World {
    /// Nil: something else is to be done.
    func historyItem(for client: SimClient) -> WorkItem? {
        guard settings.watchCount > 0, watchChance.happens(percent: 3) else { return nil }
        let prefixes = [Workload.prefix(of: 0), Workload.prefix(of: 0), Workload.prefix(of: 1), Workload.queuePrefix, []]
        let mutation = Mutation.setHistory(prefix: watchChance.pick(prefixes), isOn: watchChance.happens(percent: 65))
        let content = CommandContent(mutation)
        return WorkItem(
            call: .mutate(content), expectation: .mutation(content: [content.kind.rawValue] + content.body), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    /// What is wrong with what a watch has told of one revision; nil when nothing is.
    func fault(ofHistory changes: [Change], _ origin: ChangeOrigin?, at revision: LogIndex, isAsked: Bool) -> String? {
        guard (origin != nil) == isAsked else { return "an origin that was \(isAsked ? "" : "not ")asked for" }
        for change in changes {
            // The model of the keyspace does not know when a session's rows go.
            guard !change.key.starts(with: Array("owned/".utf8)) else { continue }
            let text = String(decoding: change.key, as: UTF8.self)
            guard isAsked, oracle.model.keepsHistory(of: change.key, at: revision) else {
                guard change.before == nil else { return "what was before \(text), of which no history is kept" }
                continue
            }
            let row = oracle.model.row(change.key, at: revision.previous)
            let expected = row.map { RowBefore.row(revision: $0.revision, value: $0.value) } ?? .nothing
            guard change.before == expected else {
                return "\(String(describing: change.before)) before \(text), not \(expected)"
            }
            historyChecked += 1
        }
        return nil
    }
}
