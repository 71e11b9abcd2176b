package import Basics
package import MetadataModel
package import StateEngine

extension Machine {
    /// Makes this state the beginning of a new generation of the cluster: it ends at `last`, which lies beyond all
    /// that the old one can have held, its members are `membership`, what the old members told of themselves is gone,
    /// and so are all sessions, because the windows of their replies may lack what was lost.
    ///
    /// The engine is changed, and is to be used for nothing but the snapshot that is made from the answer.
    package func refounded(after last: EntryID, membership: Membership) throws(MachineError) -> SnapshotSource<E.View> {
        invariant(last > applied.last, "a new generation after \(last), which is not beyond \(applied.last)")
        let stored = StoredMembership(index: last.index, membership: membership)
        var batch = WriteBatch()
        batch.put(Keyspace.membership, stored.encoded())
        let infos = KeyRange(prefix: [Keyspace.memberInfoTable])
        batch.deleteRange(from: infos.from, to: infos.to ?? Keyspace.featureLevel)
        let view = try onEngine { () throws(EngineError) in
            try engine.write(batch)
            return try engine.makeView()
        }
        let applied = Applied(last: last, time: applied.time, changeDigest: applied.changeDigest)
        return SnapshotSource(
            view: view, applied: applied, membership: stored, memberInfo: [:], sessions: SessionTable().encoded())
    }
}

extension Applied {
    /// The row that says how far a state has come.
    package static var storedKey: [UInt8] { Keyspace.applied }
}
