/// Every bound of the service that is not a matter of one room alone: its unit, its reason, how it relates to the others.
/// Those that an operator may change are defaults of the configuration; `Configuration` checks them against each other.
package enum Limits {
    private static let kibibyte = 1_024
    private static let mebibyte = 1_024 * 1_024

    /// An index or a term in foreign bytes. At a billion entries a second the log gets here after 146 years.
    package static let logNumberMax: UInt64 = 1 << 62

    // MARK: Sizes, in bytes

    /// A key. Keys sit in every index block and every frame, so they are kept short of a page.
    package static let keySizeMax = 4 * kibibyte
    /// A value, and the operations of one transaction together.
    package static let valueSizeMaxDefault = 4 * mebibyte
    /// What a configuration may raise `valueSizeMaxDefault` to.
    package static let valueSizeMaxCeiling = 64 * mebibyte
    /// What a frame may hold besides the value: header, key, session fields.
    package static let frameEnvelopeSize = 64 * kibibyte
    package static let frameSizeMaxDefault = valueSizeMaxDefault + frameEnvelopeSize
    package static let frameSizeMaxCeiling = valueSizeMaxCeiling + frameEnvelopeSize
    /// A frame before `hello` has succeeded: a stranger may not make us allocate more.
    package static let frameSizeBeforeHelloMax = 4 * kibibyte
    /// A log record's payload: the largest frame that any configuration admits.
    package static let recordPayloadSizeMax = frameSizeMaxCeiling
    /// Bytes of values that the gets of one transaction answer together, unless there is only one: the reply is a frame.
    package static let transactionReadSizeMax = valueSizeMaxDefault
    /// A slab closes at this many bytes, or at one record if that is larger.
    package static let slabSizeMax = 1 * mebibyte
    /// A stored reply that may be given again to a retry; of a larger one only revision and branch are kept.
    package static let storedReplySizeMax = 4 * kibibyte
    /// A page of a listing, in bytes of keys and values.
    package static let listPageSizeMax = 1 * mebibyte
    /// Answers to queries that are made in one go; the queries after it wait for the next. One answer is always made,
    /// however large.
    package static let answerBatchSizeMax = 4 * mebibyte
    /// Replies of one apply group. Behind so much, one that is not kept for a retry is not given the first time either.
    package static let groupReplySizeMax = 32 * mebibyte
    /// Log bytes in a leader's memory: what is not applied yet, and what `tailSizeMax` keeps behind it.
    package static let logInMemorySizeMax = 4 * valueSizeMaxCeiling
    /// Commands that a follower has passed on and that are not answered, unless there is only one. Less than may wait for
    /// one connection (`TransportSettings.pendingWriteSizeMax`), or clients could end that to the leader.
    package static let forwardedSizeMax = 64 * mebibyte
    /// Queries of one node without an answer. None that is well-formed comes near a thousandth of it.
    package static let queriesSizeMax = 64 * mebibyte
    /// What waits for all connections of a node together whose peers do not read it. Each may wait for a reply of the
    /// largest size.
    package static let unsentSizeMax = 8 * valueSizeMaxCeiling
    /// Chunk of a snapshot, in bytes of rows.
    package static let snapshotChunkSize = 1 * mebibyte

    /// A piece of a snapshot in one frame: to a client of a chunk or the manifest, to another node of the manifest.
    package static let snapshotPieceSizeMax = 1 * mebibyte
    /// The manifest of a snapshot. Most of it are the sessions with the replies that are kept for them.
    package static let snapshotManifestSizeMax = 512 * mebibyte

    /// The name of an election group, of a lock, of a State API entry.
    package static let nameSizeMax = kibibyte
    /// What a candidate tells of itself. Every promotion writes it again, so it is an address rather than a document.
    package static let candidateDataSizeMax = 64 * kibibyte
    /// Keys of the rows that one entry ends with their sessions, unless it is only one session.
    package static let expiryKeySizeMax = 16 * mebibyte

    /// Previous values that one entry of many rows keeps. A transaction or a range delete above it is refused; of what ends
    /// with sessions the values beyond it are left out.
    package static let historyPerEntryMax = 16 * mebibyte
    /// An apply group with this much to tell besides its rows is written before its end.
    package static let outcomeSizeMax = 8 * mebibyte
    /// The same for one whose rows come to so much: an entry of a few bytes may remove thousands of them, and where a log is
    /// read again a group has many such entries.
    package static let applyBatchSizeMax = 16 * mebibyte
    /// A stretch of the change feed ends at this size, or with one revision if that is larger. More than a group's entries
    /// are, so only much history makes a stretch end early.
    package static let feedStretchSizeMax = 16 * mebibyte

    /// A key in the change feed: those of other tables are made of a name and what orders the rows under it.
    package static let changeKeySizeMax = keySizeMax + 64
    /// A value there: rows of other tables are told as they are stored, with a head before the client's value.
    package static let changeValueSizeMax = valueSizeMaxCeiling + 64
    /// A frame of changes is closed at about this size; one change is never divided.
    package static let watchFrameSizeMax = 256 * kibibyte
    /// Changes of a node that its watches share, in memory; those further behind are read from the log.
    package static let feedBufferSizeMax = 16 * mebibyte
    /// What a watch may have on its way to a client that has not said that it has read it.
    package static let watchCreditMax = 16 * mebibyte
    package static let watchCreditDefault = 256 * kibibyte
    /// What a client has read of a watch without having said so is less: that of all watches of a node leaves room.
    package static let watchCreditOwedMax = 4 * kibibyte
    /// The same for all watches of a node together. Above it a watch gets on only while it has less than an equal share
    /// under way, and above twice that none does.
    package static let watchBytesUnderWayMax = 64 * mebibyte

    // MARK: Counts

    /// Watches of one connection, and of one node.
    package static let watchesPerConnectionMax = 1_000
    package static let watchesMax = 10_000
    /// Guards of one mutation.
    package static let guardsMax = 8
    /// Rows, tickets and locks that go with one session. They end in one entry, so this bounds what an entry does.
    package static let ownedRowsPerSessionMax = 10_000
    /// Places in the line of one election group or of one lock. When a lock is released, all who wait for it together may
    /// be granted it in one entry.
    package static let ticketsPerLineMax = 10_000
    /// Rows that one expiry ends with their sessions; the sessions beyond it are ended by the next.
    package static let rowsPerExpiryMax = 65_536
    /// Delayed releases that one entry carries out; the next entry goes on.
    package static let timersPerEntryMax = 1_024

    package static let transactionOperationsMax = 4_096
    /// Prefixes under which previous values are kept. Every change under any of them is looked up among them.
    package static let historyPrefixesMax = 256
    /// Where in the log a moment is, is noted at each multiple of this index.
    package static let timeMarkInterval: UInt64 = 1_024
    /// Sequences of one session whose replies are kept for a retry.
    package static let sessionWindowMax = 1_024
    package static let sessionsMax = 1_000_000
    /// Sessions that one expiry entry ends.
    package static let sessionsPerExpiryMax = 1_024
    package static let pathDepthMax = 64
    package static let connectionsPerAddressMax = 1_000
    package static let connectionsMax = 10_000
    /// Connections of one listener that have not said who they are: each may cost a TLS handshake, and strangers must not
    /// take every place. Enough for all clients to come back at once after a node was restarted.
    package static let halfOpenConnectionsMax = 2_048
    package static let halfOpenConnectionsPerAddressMax = 512
    /// Requests of one connection without a reply, cancelled ones included.
    package static let requestsPerConnectionMax = 1_024
    /// Requests of one node without a reply. Queries and commands count until they are done, also when their client has
    /// gone meanwhile.
    package static let requestsPendingMax = 16_384
    package static let listPageCountMax = 1_000
    /// Rows that one count goes over; the reply says where to go on.
    package static let countRowsMax = 65_536
    /// Rows that one range delete, or all prefix deletes of a transaction together, may delete at once.
    package static let rangeDeleteRowsMax = 10_000
    /// Rows that the comparisons of one transaction may look through ("prefix unchanged since").
    package static let comparisonRowsMax = 100_000
    /// Of a resource's name, and of a host name, in bytes.
    package static let registryNameSizeMax = 255
    /// Of all that tells a resource from another, in bytes: with an agent's id and a role it makes a key, and is told as
    /// one, of at most `keySizeMax`.
    package static let resourceKindSizeMax = 2_560
    /// Resources in one list of a command: some rules look at every pair of them.
    package static let resourcesMax = 4_096
    /// Ranges in one value: a row stays small enough to be told with a change.
    package static let resourceRangesMax = 10_000
    /// Statuses of one operation before it ends.
    package static let operationStatusesMax = 100
    /// Of what agents that come back together are told that they have missed, in bytes; the first is always told.
    package static let attachReplySizeMax = 1 * mebibyte
    /// Pinned engine snapshots on one node.
    package static let viewsMax = 64
    /// Snapshots that are being taken away by clients of one node.
    package static let exportsMax = 4
    /// Members report their digest at each multiple of this index.
    package static let digestInterval: UInt64 = 4_096
    /// The session windows are written as a row at each multiple of this index.
    package static let sessionCheckpointInterval: UInt64 = 65_536
    /// Tombstones are kept for this many revisions.
    package static let tombstoneRevisionsMax: UInt64 = 1_000_000
    /// Tombstones that one entry looks at when those below the delete floor go; the next entry goes on. A few milliseconds,
    /// and 16 MiB of the longest keys.
    package static let tombstonesPerSweepMax = 4_096

    // MARK: Times

    package static let handshakeTimeout = Interval.seconds(5)
    /// After this silence TCP asks whether the other side of a connection is still there: a machine that lost power, or a
    /// router between the two that has forgotten the connection, says nothing of itself.
    package static let keepAliveIdle = Interval.seconds(60)
    package static let keepAliveInterval = Interval.seconds(15)
    /// Questions without an answer after which the connection has ended.
    package static let keepAliveCount = 4
    /// The same where something is under way: bytes that the other side does not acknowledge, or leaves no room for.
    package static let unacknowledgedMax = keepAliveIdle + keepAliveInterval * Int64(keepAliveCount)
    /// Silence inside a frame.
    package static let frameSilenceMax = Interval.seconds(30)
    /// A frame between nodes is whole after this and `peerFrameRateMin` for its size. A few election timeouts: the link
    /// that it blocks is of no use.
    package static let frameTimeMax = Interval.seconds(3)
    /// In bytes a second; an eighth of the slowest network that a cluster is run on.
    package static let peerFrameRateMin = 1 * mebibyte
    package static let sessionTimeoutMin = Interval.seconds(1)
    package static let sessionTimeoutMax = Interval.seconds(24 * 3_600)
    package static let sessionTimeoutDefault = Interval.seconds(10)
    /// A mutation may open a session only if the cluster time it names is younger than this.
    package static let sessionOpeningAgeMax = Interval.seconds(60)
    /// An ended session's id is remembered this long, so that no late duplicate opens it again.
    package static let endedSessionKept = Interval.seconds(120)
    /// How long a lock may stay held after its session.
    package static let lockDelayMax = Interval.seconds(3_600)
    /// A watch whose client reads nothing for this long is ended, and is told where to go on.
    package static let watchStallMax = Interval.seconds(30)
    package static let watchProgressMin = Interval.milliseconds(250)
    package static let viewIdleMax = Interval.seconds(5 * 60)
    package static let viewAgeMax = Interval.seconds(30 * 60)
    /// A snapshot that is being taken away and not asked for is kept this long; while it is, the engine cannot reclaim
    /// what it shows.
    package static let exportIdleMax = Interval.seconds(60)
}
