internal import Basics
package import LogFormat
internal import MetadataModel
package import RaftCore
internal import Wire

/// Raft's orders carried out: slabs closed, persists queued, appends sent, committed entries fed to the apply thread.
extension Replica {
    // MARK: - Proposing

    /// Copies a command into the open slab. Only while this node leads.
    mutating func propose(_ command: RawSpan, requester: Requester?, principal: UInt64 = 0) {
        if openSlab == nil {
            openSlab = SlabBuilder(term: raft.currentTerm, firstIndex: raft.lastIndex.next, salt: salt)
            counters.batchBegan(at: now)
        }
        openSlab?.append(.command, payload: command, time: clock.read(now: now, wall: wall), principal: principal)
        openRequesters.append(requester)
        if (openSlab?.byteCount ?? 0) >= Limits.slabSizeMax { closeSlab() }
    }

    /// What gathers while a sync is under way becomes the next slab; group commit needs no timer. While leadership is being
    /// handed over, or too much is uncommitted, what has come waits: either this goes on, or the next leader is named.
    mutating func closeSlabIfLogIsFree() {
        // Of an earlier reign: none of it is logged, so it is not to wait for a disk that may be stuck.
        if let term = openSlab?.term, !raft.isLeader || term != raft.currentTerm { return closeSlab() }
        guard !raft.isLeader || raft.canPropose else { return }
        if !isLogBusy, queuedWrites.isEmpty { closeSlab() }
    }

    private mutating func closeSlab() {
        guard let builder = openSlab.take() else { return }
        var requesters: [Requester?] = []
        swap(&requesters, &openRequesters)
        // A hand-over may have begun since the first of them came: then none of them is logged.
        guard raft.canPropose, raft.currentTerm == builder.term else {
            for case let requester? in requesters { answer(requester, notLeaderError) }
            if let slab = builder.close() { keepDecided(in: slab, of: requesters) }
            return
        }
        guard var slab = builder.close() else { return }
        if slab.firstIndex != raft.lastIndex.next {
            slab = slab.renumbered(from: raft.lastIndex.next, salt: salt)
        }
        append(slab)
        for (offset, requester) in requesters.enumerated() {
            guard let requester else { continue }
            pending.insert(requester, at: EntryID(term: slab.term, index: slab.firstIndex + offset))
        }
        counters.batchProposed(through: slab.lastIndex, count: slab.count, at: now)
        raft.step(.proposed(count: slab.count), now: now)
        drainReady()
    }

    private mutating func append(_ slab: Slab) {
        lastTime = max(lastTime, slab.record(at: slab.lastIndex).header.time)
        if !raft.isLeader { clock = ClusterClock(last: lastTime, wall: wall, now: now) }
        tail.append(slab)
    }

    // MARK: - Ready

    /// Carries out everything the core has to say. `arriving` is the slab that came with the AppendEntries just stepped.
    mutating func drainReady(arriving: Slab? = nil) {
        while let ready = raft.takeReady() {
            if let status = ready.status { statusChanged(to: status) }
            for envelope in ready.sendNow { route(envelope) }
            if let persist = ready.persist { enqueue(persist, arriving: arriving) }
            if let range = ready.apply { applyTarget = max(applyTarget, range.upperBound) }
            for grant in ready.reads {
                guard let batch = barriers.granted(grant) else { continue }
                refuse(batch, unavailableError)
            }
            if ready.needsSnapshot { offerSnapshot() }
            if let fetch = ready.fetchSnapshot { fetchSnapshot(fetch) }
            for peer in ready.conflictsBelowCommit {
                effects.notices.append(.conflictBelowCommit(peer: peer))
                let name = membership.member(peer)?.name ?? "\(peer)"
                raise(.conflictBelowCommit, "\(name) sent entries that contradict committed ones; they were refused")
                effects.closingPeers.append(peer)
            }
        }
    }

    private mutating func enqueue(_ persist: Ready.Persist, arriving: Slab?) {
        if let index = persist.truncateAfter {
            tail.truncate(after: index)
            forgetConfigurations(after: index)
        }
        for entry in persist.generated { append(slab(for: entry)) }
        if let range = persist.entries, let part = arriving?.slice(range) { append(part) }

        // An acknowledgement of what is on disk already waits for nothing.
        let changesNothing = persist.entries == nil && persist.truncateAfter == nil && persist.hardState == promised
        if changesNothing, !isLogBusy, queuedWrites.isEmpty {
            raft.step(.persisted(persist.ticket), now: now)
            for envelope in persist.thenSend { route(envelope) }
            return
        }
        promised = persist.hardState
        var write = LogWrite(hardState: persist.hardState, truncateAfter: persist.truncateAfter, slab: nil)
        if let range = persist.entries {
            guard let slabs = tail.slabs(in: range, byteCountMax: .max), slabs.last?.lastIndex == range.upperBound else {
                fatalError("entries \(range) are to be persisted and are not in memory")
            }
            noteConfigurations(in: slabs)
            for slab in slabs {
                write.slab = slab
                queuedWrites.append(write)
                write.truncateAfter = nil
            }
        } else {
            queuedWrites.append(write)
        }
        queuedTicket = persist.ticket
        heldMessages.append((persist.ticket, persist.thenSend))
    }

    private mutating func slab(for entry: GeneratedEntry) -> Slab {
        var builder = SlabBuilder(term: raft.currentTerm, firstIndex: entry.index, salt: salt)
        // Commands that wait in the open slab were stamped before, and get their places behind this entry: time never falls.
        let time = openSlab == nil ? clock.read(now: now, wall: wall) : lastTime
        switch entry.content {
        case .noop: builder.append(.noop, payload: RawSpan(), time: time)
        case .configuration(let configuration):
            let bytes = (members.planned ?? membership).applying(configuration).encoded()
            builder.append(.configuration, payload: bytes.rawSpan, time: time)
        }
        guard let slab = builder.close() else { fatalError("a slab with one record is empty") }
        return slab
    }

    /// One batch at a time: what comes in meanwhile shares the next sync.
    mutating func handOverWrites() {
        guard !isLogBusy, let ticket = queuedTicket else { return }
        var writes: [LogWrite] = []
        swap(&writes, &queuedWrites)
        queuedTicket = nil
        isLogBusy = true
        effects.log = LogWork(ticket: ticket, writes: writes)
    }

    /// The log thread's sync returned: everything through `ticket` is on disk.
    package mutating func logWritten(_ ticket: PersistTicket) {
        isLogBusy = false
        raft.step(.persisted(ticket), now: now)
        while let held = heldMessages.first, held.ticket <= ticket {
            heldMessages.removeFirst()
            for envelope in held.envelopes { route(envelope) }
        }
        drainReady()
    }

    // MARK: - Sending

    mutating func route(_ envelope: Envelope) {
        guard let position = links.position(of: envelope.to), links[position].isUp else { return }
        if case .appendEntries(let append) = envelope.message, append.entries != nil {
            links[position].appends.append(
                PeerLink.QueuedAppend(append: append, sentThrough: append.previous.index))
        } else {
            links[position].send(.raft(envelope.message))
        }
    }

    /// Turns queued appends into bytes, as far as each link takes them.
    mutating func sendAppends() {
        for position in links.indices { sendAppends(at: position) }
    }

    private mutating func sendAppends(at position: Int) {
        while links[position].isUp, links[position].isWritable, !links[position].isReadingLog,
            links[position].output.count < PeerLink.outputSizeMax, let queued = links[position].appends.first
        {
            let range = queued.sentThrough.next...queued.append.lastIndex
            guard raft.isLeader, queued.append.term == raft.currentTerm, range.upperBound <= raft.lastIndex,
                raft.term(at: queued.sentThrough) != nil
            else {
                links[position].appends.removeFirst()
                continue
            }
            guard let slabs = tail.slabs(in: range, byteCountMax: Limits.slabSizeMax) else {
                links[position].isReadingLog = true
                let purpose = LogRead.Purpose.peer(links[position].id)
                effects.logReads.append(LogRead(purpose: purpose, range: range, byteCountMax: Limits.slabSizeMax))
                return
            }
            sendFirstAppend(slabs, at: position)
        }
    }

    private mutating func sendFirstAppend(_ slabs: [Slab], at position: Int) {
        let raft = self.raft
        let isCurrent = links[position].sendFirstAppend(slabs) { raft.term(at: $0) }
        if !isCurrent || links[position].appends[0].sentThrough >= links[position].appends[0].append.lastIndex {
            links[position].appends.removeFirst()
        }
    }

    /// Entries read back from disk; empty when the log no longer holds the first of them.
    package mutating func logRead(_ read: LogRead, slabs: [Slab]) {
        switch read.purpose {
        case .repair(let peer, let question): helped(peer, with: question, slabs.first)
        case .feed: logReadForWatches(read, slabs: slabs)
        case .apply:
            isReadingForApply = false
            // A state that is replaced meanwhile goes on elsewhere.
            guard !isStateReplaced, applyFed < applyTarget, read.range.lowerBound == applyFed.next else { return }
            invariant(slabs.first?.firstIndex == applyFed.next, "entry \(applyFed.next) is not in the log")
            handToApply(slabs.compactMap { $0.slice(applyFed.next...applyTarget) })
        case .peer(let id):
            guard let position = links.position(of: id), links[position].isReadingLog else { return }
            links[position].isReadingLog = false
            if slabs.isEmpty, !links[position].appends.isEmpty {
                // Compacted meanwhile: the core will find out that this follower needs a snapshot.
                links[position].appends.removeFirst()
            }
            guard let queued = links[position].appends.first, let first = slabs.first,
                first.firstIndex == queued.sentThrough.next, queued.append.term == raft.currentTerm
            else { return }
            let range = queued.sentThrough.next...queued.append.lastIndex
            sendFirstAppend(slabs.compactMap { $0.slice(range) }, at: position)
        }
    }

    // MARK: - Feeding the apply thread

    /// A state that is wrong or missing is not built upon, and one that a snapshot is just taking the place of may be the
    /// snapshot's already: entries wait.
    private var isStateReplaced: Bool {
        isQuarantined || snapshots.fetch.map { $0.isInstalling && $0.resetsLog } ?? false
    }

    mutating func feedApply() {
        while !isStateReplaced, applyFed < applyTarget, appliesInFlight < settings.appliesInFlightMax, !isReadingForApply {
            let range = applyFed.next...applyTarget
            guard let slabs = tail.slabs(in: range, byteCountMax: 4 * Limits.slabSizeMax) else {
                isReadingForApply = true
                effects.logReads.append(
                    LogRead(purpose: .apply, range: range, byteCountMax: 4 * Limits.slabSizeMax))
                break
            }
            handToApply(slabs)
        }
        for batch in barriers.takeReady(handedOver: applyFed) { reads.add(batch) }
        handOverReads()
    }

    private mutating func handOverReads() {
        while reads.mayHandOver, let batch = reads.takeFirst() {
            guard !isQuarantined else {
                refuse(batch, quarantinedError)
                continue
            }
            let wanted = sifted(batch)
            guard !wanted.items.isEmpty else { continue }
            effects.apply.append(.queries(reads.handOver(wanted)))
        }
    }

    /// Those of the batch that are to be answered now. A client that does not take its answers gets no more of them until it
    /// has: its queries are put aside. For one that has gone no work is done.
    private mutating func sifted(_ batch: QueryBatch) -> QueryBatch {
        guard !batch.waiting.allSatisfy({ clients.standing(of: $0.slot) == .takesAnswers }) else { return batch }
        var wanted = QueryBatch()
        for item in batch.waiting {
            switch clients.standing(of: item.slot) {
            case .takesAnswers: wanted.append(item, of: batch)
            case .doesNotRead: clients.hold(item, of: batch)
            case .isGone: reads.forget(item)
            }
        }
        return wanted
    }

    private mutating func handToApply(_ slabs: [Slab]) {
        guard let last = slabs.last else { return }
        let range = applyFed.next...last.lastIndex
        applyFed = last.lastIndex
        appliesInFlight += 1
        effects.apply.append(.entries(slabs, range: range))
        if hub.isActive { effects.apply.append(.feed(slabs, range: range, isLive: true)) }
    }

    /// What is still being written must be kept. What is only not applied yet is read back from disk, where a state that is
    /// late, or is being rebuilt, leaves more of it than memory should hold.
    mutating func evictTail() {
        tail.evict(byteCountMax: settings.tailSizeMax, neededAfter: raft.durableIndex)
    }
}
