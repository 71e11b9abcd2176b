internal import Basics

/// Names one client connection of this node. Slots are reused; `generation` tells the occupants apart, so a reply can
/// never reach a connection that came later.
package struct ConnectionSlot: Hashable, Comparable, Sendable {
    package var position: Int32
    package var generation: UInt32

    package static func < (left: ConnectionSlot, right: ConnectionSlot) -> Bool {
        (left.position, left.generation) < (right.position, right.generation)
    }
}

/// One client connection as the replica sees it: what it may still ask, and the reply bytes of this turn.
struct ClientConnection {
    var generation: UInt32
    var isOpen = false
    var hasSaidHello = false
    /// Requests without a reply, at most `Limits.requestsPerConnectionMax`.
    var pendingCount = 0
    var export = ExportState.none
    /// Reply frames of this turn; written to the socket once, at its end.
    var output = ByteWriter()
    /// What it was sent before is on its way: the socket's buffer is below its high-water mark.
    var isWritable = true
    /// Queries that are answered when it is.
    var held = QueryBatch()
}

/// All client connections of this node, by slot.
struct ClientTable: ~Copyable {
    private var connections: [ClientConnection] = []
    private var freePositions: [Int32] = []
    /// Slots with output, in the order in which they first got some.
    private var dirty: [ConnectionSlot] = []
    private(set) var openCount = 0
    /// Connections that take a snapshot away.
    private(set) var exportCount = 0

    mutating func open() -> ConnectionSlot {
        openCount += 1
        if let position = freePositions.popLast() {
            connections[Int(position)].isOpen = true
            return ConnectionSlot(position: position, generation: connections[Int(position)].generation)
        }
        connections.append(ClientConnection(generation: 0, isOpen: true))
        return ConnectionSlot(position: Int32(connections.count - 1), generation: 0)
    }

    mutating func close(_ slot: ConnectionSlot) {
        guard isOpen(slot) else { return }
        openCount -= 1
        setExport(slot, .none)
        connections[Int(slot.position)] = ClientConnection(generation: slot.generation &+ 1)
        freePositions.append(slot.position)
    }

    func isOpen(_ slot: ConnectionSlot) -> Bool {
        // Field by field: a copy of the connection would count references to all that it holds.
        let position = Int(slot.position)
        return connections[position].generation == slot.generation && connections[position].isOpen
    }

    // MARK: Clients that do not read

    /// Whether answers are made for a connection.
    enum Standing {
        case takesAnswers, doesNotRead
        /// Its place may belong to another by now.
        case isGone
    }

    func standing(of slot: ConnectionSlot) -> Standing {
        guard isOpen(slot) else { return .isGone }
        return connections[Int(slot.position)].isWritable ? .takesAnswers : .doesNotRead
    }

    mutating func hold(_ item: QueryBatch.Item, of batch: QueryBatch) {
        connections[Int(item.slot.position)].held.append(item, of: batch)
    }

    mutating func setWritable(_ slot: ConnectionSlot, _ isWritable: Bool) {
        guard isOpen(slot) else { return }
        connections[Int(slot.position)].isWritable = isWritable
    }

    mutating func takeHeld(_ slot: ConnectionSlot) -> QueryBatch {
        guard isOpen(slot) else { return QueryBatch() }
        var taken = QueryBatch()
        swap(&taken, &connections[Int(slot.position)].held)
        return taken
    }

    /// Bytes for it in this turn so far.
    func outputSize(_ slot: ConnectionSlot) -> Int { connections[Int(slot.position)].output.count }

    func hasSaidHello(_ slot: ConnectionSlot) -> Bool { isOpen(slot) && connections[Int(slot.position)].hasSaidHello }

    mutating func markHello(_ slot: ConnectionSlot) { connections[Int(slot.position)].hasSaidHello = true }

    func export(_ slot: ConnectionSlot) -> ExportState { connections[Int(slot.position)].export }

    mutating func setExport(_ slot: ConnectionSlot, _ state: ExportState) {
        guard isOpen(slot) else { return }
        let old = connections[Int(slot.position)].export
        if old == .none, state != .none { exportCount += 1 }
        if old != .none, state == .none { exportCount -= 1 }
        connections[Int(slot.position)].export = state
    }

    func pendingCount(_ slot: ConnectionSlot) -> Int { connections[Int(slot.position)].pendingCount }

    mutating func addPending(_ slot: ConnectionSlot) { connections[Int(slot.position)].pendingCount += 1 }

    /// Lets `body` append frames to the connection's output; nothing happens when it has closed meanwhile.
    mutating func write(to slot: ConnectionSlot, endsRequest: Bool, _ body: (inout ByteWriter) -> Void) {
        guard isOpen(slot) else { return }
        let position = Int(slot.position)
        if connections[position].output.count == 0 { dirty.append(slot) }
        body(&connections[position].output)
        if endsRequest { connections[position].pendingCount -= 1 }
    }

    /// What each connection is to be sent, in the order in which the replies came.
    mutating func takeOutput() -> [(slot: ConnectionSlot, bytes: [UInt8])] {
        guard !dirty.isEmpty else { return [] }
        var taken: [(slot: ConnectionSlot, bytes: [UInt8])] = []
        taken.reserveCapacity(dirty.count)
        for slot in dirty where isOpen(slot) {
            let bytes = connections[Int(slot.position)].output.takeBytes()
            if !bytes.isEmpty { taken.append((slot, bytes)) }
        }
        dirty.removeAll(keepingCapacity: true)
        return taken
    }
}
