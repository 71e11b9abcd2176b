internal import Basics
internal import Disk
internal import LogStore
internal import RaftCore

/// What disks do behind the back of the nodes. Each is done to a node that is down, and only if `FaultAtlas` finds that it
/// can be survived; so a node that never comes back from one fails the run.
extension World {
    private static let log = "/data/log/"

    /// A node that is down, with a log that somebody can look at.
    private func victim() -> SimNode? {
        let down = nodes.filter { $0.isInUse && !$0.isRunning && $0.repair == nil && $0.forgotten == nil }
        return down.isEmpty ? nil : diskChance.pick(down)
    }

    private func segments(of node: SimNode) -> [String] {
        node.disk.paths.filter { $0.hasPrefix(Self.log) && $0.hasSuffix(".segment") }
    }

    /// The part of a file that something was written to.
    private func writtenSize(_ bytes: [UInt8]) -> Int { (bytes.lastIndex { $0 != 0 } ?? -1) + 1 }

    func damageDisk() { if let node = victim() { damageDisk(of: node) } }

    func damageDisk(of node: SimNode) {
        guard node.isInUse, node.forgotten == nil, node.ownDisk == nil else { return }
        switch diskChance.number(in: 0...9) {
        case 0...3: strike(node, .bitFlipInLog) { flipBits(of: node) }
        case 4...5: strike(node, .misdirectedWrite) { misdirectWrite(of: node) }
        case 6...7: strike(node, .bitFlipInHardState) { rotNewestSegment(of: node) }
        case 8: mountForeign(node)
        default: break
        }
    }

    /// Does it, and takes it back where too much would be lost.
    private func strike(_ node: SimNode, _ kind: FaultKind, _ fault: () -> String?) {
        let atlas = FaultAtlas(self)
        guard let before = atlas.copies.first(where: { $0.node === node }) else { return }
        let kept = node.disk.copy(seed: 0)
        guard let what = fault() else { return }
        let after = FaultAtlas.look(at: node, identity)
        if let after { checkEnd(of: before, after, kept, what) }
        guard let after, atlas.allows(before, to: after) else {
            counters.add(.faultRefused)
            return node.disk.assume(kept)
        }
        if !after.log.report.promisesAreKnown {
            // What it knows of itself begins anew; what it had promised binds it all the same.
            node.hardState = .initial
            node.losesPromises = true
        } else if kind == .bitFlipInHardState {
            // The headers elsewhere still tell it.
            counters.add(.bitFlipInLog)
        }
        counters.add(kind)
        node.isWounded = true
        node.wasDamaged = true
        tell("\(node.name): \(what)")
    }

    /// What the newest segment follows was synced before it. So while that one is sound, nothing that happens to those
    /// before it makes the log end earlier, whether the fault stays or is undone.
    private func checkEnd(of before: FaultAtlas.Copy, _ after: FaultAtlas.Copy, _ kept: SimDisk, _ what: String) {
        let node = before.node
        guard before.log.report.damages.isEmpty, after.log.last != before.log.last,
            let newest = segments(of: node).last, kept.contents(of: newest) == node.disk.contents(of: newest)
        else { return }
        fail("\(node.name) takes its log to end at \(after.log.last), not at \(before.log.last), when \(what)")
    }

    /// Up to three bits, anywhere in the log.
    private func flipBits(of node: SimNode) -> String? {
        let paths = segments(of: node)
        guard !paths.isEmpty else { return nil }
        var places: [String] = []
        for _ in 0..<diskChance.pick([1, 1, 1, 2, 3]) {
            let path = diskChance.pick(paths)
            let size = writtenSize(node.disk.contents(of: path))
            guard size > 0 else { continue }
            // Half of them in the headers, which are few and small.
            let offset = diskChance.happens(percent: 30)
                ? diskChance.number(in: 0...127) : diskChance.number(in: 0...size - 1)
            let mask = UInt8(1) << UInt8(diskChance.number(in: 0...7))
            node.disk.alter(path) { $0[offset] ^= mask }
            places.append("\(path) at \(offset)")
        }
        return places.isEmpty ? nil : "a bit turns in \(places.joined(separator: ", "))"
    }

    /// Sectors were written at another place than was asked for: what stood there is gone, and here nothing is.
    private func misdirectWrite(of node: SimNode) -> String? {
        let paths = segments(of: node)
        guard !paths.isEmpty else { return nil }
        let (from, to) = (diskChance.pick(paths), diskChance.pick(paths))
        let source = node.disk.contents(of: from)
        let sectors = writtenSize(source) / SimDisk.sectorSize
        let targetSectors = node.disk.contents(of: to).count / SimDisk.sectorSize
        guard sectors > 8, targetSectors > 8 else { return nil }
        let length = diskChance.number(in: 1...4) * SimDisk.sectorSize
        let start = diskChance.number(in: 8...sectors - 1) * SimDisk.sectorSize
        let target = diskChance.number(in: 8...targetSectors - 1) * SimDisk.sectorSize
        let end = min(start + length, source.count)
        let piece = Array(source[start..<end])
        node.disk.alter(from) { $0.replaceSubrange(start..<end, with: [UInt8](repeating: 0, count: end - start)) }
        node.disk.alter(to) { bytes in
            let end = min(target + piece.count, bytes.count)
            bytes.replaceSubrange(target..<end, with: piece[..<(end - target)])
        }
        return "a write of \(piece.count) bytes to \(from) at \(start) went to \(to) at \(target)"
    }

    /// A bit in each line of the newest segment: term, vote and all that it says of the last entry.
    private func rotNewestSegment(of node: SimNode) -> String? {
        guard let path = segments(of: node).last else { return nil }
        let size = writtenSize(node.disk.contents(of: path))
        guard size > 0 else { return nil }
        let mask = UInt8(1) << UInt8(diskChance.number(in: 0...7))
        node.disk.alter(path) { bytes in
            for offset in stride(from: 17, to: min(size, bytes.count), by: 64) { bytes[offset] ^= mask }
        }
        return "\(path) rots"
    }

    // MARK: - Whole directories

    /// Somebody mounts the directory of another node here. It is refused, and the right one is put back. A whole one: here
    /// the segments alone say whose it is, where the product has the identity file as well.
    private func mountForeign(_ node: SimNode) {
        guard !settings.changesMembers, !segments(of: node).isEmpty,
            let other = nodes.first(where: { $0 !== node && !$0.isWounded && saysWhose($0) })
        else { return }
        counters.add(.foreignDirectory)
        tell("\(node.name) is given the directory of \(other.name)")
        node.ownDisk = node.disk.copy(seed: 0)
        node.disk.assume(other.disk)
    }

    /// Whether the node's log is there, is its own, and a segment's header says so. Bits turn in headers too, and what
    /// was damaged stays as it is until its segment goes.
    private func saysWhose(_ node: SimNode) -> Bool {
        guard node.ownDisk == nil, let log = FaultAtlas.look(at: node, identity)?.log else { return false }
        return segments(of: node).contains { path in
            !log.report.damages.contains { $0.file == path && $0.offset == 0 }
        }
    }

    /// The node has said no.
    func putBackOwn(_ node: SimNode, _ error: any Error) -> Bool {
        guard let own = node.ownDisk else { return false }
        guard case LogOpenError.foreign = error else {
            fail("\(node.name) does not say whose directory it was given: \(error)")
            return true
        }
        node.ownDisk = nil
        node.disk.assume(own)
        return true
    }

    /// Keeps what a running node's disk holds now, for one of two things: its disk acknowledges syncs from here on and
    /// forgets them with the power, or somebody makes a copy of the directory that is put back later.
    func beginForgetting() {
        guard !settings.changesMembers else { return }
        let node = diskChance.pick(nodes)
        guard node.process != nil, !node.isWounded, nodes.allSatisfy({ $0.memory == nil }) else { return }
        let isCopy = diskChance.happens(percent: 50)
        // A copy of the directory has the state of the same moment; the state has a disk of its own otherwise.
        let durable = node.disk.durableCopy(seed: 0)
        let home = isCopy && !node.home.isVolatile ? node.home.durableCopy() : nil
        node.memory = SimMemory(disk: durable, home: home, isCopy: isCopy)
    }

    /// The node has just gone down.
    func forget(_ node: SimNode) {
        guard let memory = node.memory else { return }
        node.memory = nil
        let atlas = FaultAtlas(self)
        guard node.process == nil, node.repair == nil, !node.isWounded,
            let before = atlas.copies.first(where: { $0.node === node })
        else { return }
        let kept = node.disk.copy(seed: 0)
        node.disk.assume(memory.disk)
        guard let after = FaultAtlas.look(at: node, identity), after.log.last < before.log.last,
            atlas.allowsForgetting(before, back: after)
        else {
            counters.add(.faultRefused)
            return node.disk.assume(kept)
        }
        if let home = memory.home { node.takeBack(home) }
        counters.add(memory.isCopy ? .olderDirectory : .syncLost)
        tell(
            "\(node.name) \(memory.isCopy ? "gets an old copy of its directory" : "has lost what was synced"): its log "
                + "ends at \(after.log.last), not at \(before.log.last)")
        node.forgotten = before.log.last
        node.isWounded = true
        node.hardState = .initial
        node.log = nil
        node.lastRevision = .zero
    }
}

/// What a disk or a copy of it will be found to hold.
struct SimMemory {
    let disk: SimDisk
    let home: SimEngineHome?
    let isCopy: Bool
}
