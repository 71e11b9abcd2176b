package import Basics

/// What masters change in the registry. Every one of them is guarded by the election of the masters: the fence that is
/// named there is the leading master's.
public enum RegistryCommand: Hashable, Sendable {
    /// A master takes over.
    case recover(MasterInfo)

    case agentAdmit(AgentClaim)
    case agentUpdate(id: [UInt8], AgentPatch)
    /// Each is answered for itself.
    case agentsReregister([AgentAttachment])
    /// What an agent has checkpointed, when it was asked for it.
    case agentReport(id: [UInt8], generation: UInt64, entries: [ResourceClaim])
    case agentMarkUnreachable(id: [UInt8])
    case agentMarkReachable(AgentClaim)
    case agentMarkGone(id: [UInt8])
    case agentRemove(id: [UInt8], discardsVolumes: Bool)
    case agentsPrune(unreachable: [[UInt8]], gone: [[UInt8]], includesVolumes: Bool)
    /// - Parameter maxGracePeriod: in ns; nil: as stored.
    case agentDrain(id: [UInt8], maxGracePeriod: UInt64?, marksGone: Bool)
    case agentMarkDrained(id: [UInt8])
    case agentDeactivate(id: [UInt8])
    case agentReactivate(id: [UInt8])
    /// - Parameter until: cluster time, ns.
    case agentsApproveRemoval(count: UInt64, until: UInt64)

    /// - Parameters:
    ///   - principal: who authenticated; nil: nobody did.
    ///   - isForced: takes the place of another connection.
    case frameworkSubscribe(FrameworkInfo, principal: [UInt8]?, connection: [UInt8], isForced: Bool)
    case frameworkUpdate(FrameworkInfo, principal: [UInt8]?)
    case frameworkDisconnect(id: [UInt8], connection: [UInt8])
    case frameworkTeardown(id: [UInt8])
    case frameworksForget([[UInt8]])

    case weightsUpdate([Weight])
    case quotaUpdate([QuotaConfig], isForced: Bool)
    /// Nil: none any more.
    case rateLimitsSet(RateLimits?)
    case scheduleUpdate([MaintenanceWindow]?)
    case maintenanceStart([MachineID])
    case maintenanceStop([MachineID])

    /// - Parameter isAtomic: all of them or none; else each is answered for itself, and sees what those before it did.
    case operationsApply([OperationRequest], isAtomic: Bool)
    /// A framework's task takes resources.
    case acquire(agentID: [UInt8], frameworkID: [UInt8], holdID: [UInt8], role: [UInt8], resources: [ResourceClaim])
    case release(agentID: [UInt8], frameworkID: [UInt8], holdID: [UInt8])
    case providerAdmit(id: [UInt8], type: [UInt8]?, name: [UInt8]?)
    case providerRemove(id: [UInt8])

    /// - Parameter latest: what the operation is at by now, if it went on meanwhile.
    case operationStatusUpdate(agentID: [UInt8], uuid: [UInt8], status: OperationStatus, latest: OperationState?)
    case operationAcknowledge(frameworkID: [UInt8], operationID: [UInt8], statusUUID: [UInt8], agentID: [UInt8])

    /// A piece of a registry that is imported into an empty one. Until the last has come, or what came was deleted
    /// again, nothing else is changed.
    /// - Parameters:
    ///   - id: the same for all pieces; 1 … 64 bytes.
    ///   - number: counted from 0; one that has come is not taken again.
    case importChunk(id: [UInt8], number: UInt64, isLast: Bool, [ImportRecord])
    /// Deletes some of what came of an import that is to go no further; again until it answers that all is.
    case importAbort

    /// Whose fence a command names.
    public static let electionGroup = Array("masters".utf8)

    /// Agents, frameworks, operations or quotas of one command: what it takes to carry one out stays bounded.
    public static let objectsMax = 512

    /// An `importChunk`, in bytes: it is applied in one go.
    public static let importSizeMax = 1_024 * 1_024
}

extension RegistryCommand: RegistryValue {
    /// `u8 number | fields`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .recover(let master):
            writer.write(UInt8(1))
            writer.write(master)
        case .agentAdmit(let agent):
            writer.write(UInt8(2))
            writer.write(agent)
        case .agentUpdate(let id, let patch):
            writer.write(UInt8(3))
            writer.writeBytes16(id)
            writer.write(patch)
        case .agentsReregister(let agents):
            writer.write(UInt8(4))
            writer.write(agents)
        case .agentReport(let id, let generation, let entries):
            writer.write(UInt8(5))
            writer.writeBytes16(id)
            writer.write(generation)
            writer.write(entries)
        case .agentMarkUnreachable(let id): writer.write(6, id)
        case .agentMarkReachable(let agent):
            writer.write(UInt8(7))
            writer.write(agent)
        case .agentMarkGone(let id): writer.write(8, id)
        case .agentRemove(let id, let discardsVolumes):
            writer.write(9, id)
            writer.write(discardsVolumes)
        case .agentsPrune(let unreachable, let gone, let includesVolumes):
            writer.write(UInt8(10))
            writer.write(texts: unreachable)
            writer.write(texts: gone)
            writer.write(includesVolumes)
        case .agentDrain(let id, let maxGracePeriod, let marksGone):
            writer.write(11, id)
            writer.write(optional: maxGracePeriod)
            writer.write(marksGone)
        case .agentMarkDrained(let id): writer.write(12, id)
        case .agentDeactivate(let id): writer.write(13, id)
        case .agentReactivate(let id): writer.write(14, id)
        case .agentsApproveRemoval(let count, let until):
            writer.write(UInt8(15))
            writer.write(count)
            writer.write(until)
        case .frameworkSubscribe(let info, let principal, let connection, let isForced):
            writer.write(UInt8(16))
            writer.write(info)
            writer.write(optional: principal)
            writer.writeBytes16(connection)
            writer.write(isForced)
        case .frameworkUpdate(let info, let principal):
            writer.write(UInt8(17))
            writer.write(info)
            writer.write(optional: principal)
        case .frameworkDisconnect(let id, let connection):
            writer.write(18, id)
            writer.writeBytes16(connection)
        case .frameworkTeardown(let id): writer.write(19, id)
        case .frameworksForget(let ids):
            writer.write(UInt8(20))
            writer.write(texts: ids)
        case .weightsUpdate(let weights):
            writer.write(UInt8(21))
            writer.write(weights)
        case .quotaUpdate(let configs, let isForced):
            writer.write(UInt8(22))
            writer.write(configs)
            writer.write(isForced)
        case .scheduleUpdate(let windows):
            writer.write(UInt8(23))
            writer.write(optional: windows) { $1.write($0) }
        case .maintenanceStart(let machines):
            writer.write(UInt8(24))
            writer.write(machines)
        case .maintenanceStop(let machines):
            writer.write(UInt8(25))
            writer.write(machines)
        case .operationsApply(let requests, let isAtomic):
            writer.write(UInt8(26))
            writer.write(requests)
            writer.write(isAtomic)
        case .acquire(let agentID, let frameworkID, let holdID, let role, let resources):
            writer.write(27, agentID)
            writer.writeBytes16(frameworkID)
            writer.writeBytes16(holdID)
            writer.writeBytes16(role)
            writer.write(resources)
        case .release(let agentID, let frameworkID, let holdID):
            writer.write(28, agentID)
            writer.writeBytes16(frameworkID)
            writer.writeBytes16(holdID)
        case .providerAdmit(let id, let type, let name):
            writer.write(29, id)
            writer.write(optional: type)
            writer.write(optional: name)
        case .providerRemove(let id): writer.write(30, id)
        case .operationStatusUpdate(let agentID, let uuid, let status, let latest):
            writer.write(31, agentID)
            writer.writeBytes16(uuid)
            writer.write(status)
            writer.write(optional: latest) { $1.write($0.rawValue) }
        case .operationAcknowledge(let frameworkID, let operationID, let statusUUID, let agentID):
            writer.write(32, frameworkID)
            writer.writeBytes16(operationID)
            writer.writeBytes16(statusUUID)
            writer.writeBytes16(agentID)
        case .rateLimitsSet(let limits):
            writer.write(UInt8(33))
            writer.write(limits)
        case .importChunk(let id, let number, let isLast, let records):
            writer.write(34, id)
            writer.write(number)
            writer.write(isLast)
            writer.write(records)
        case .importAbort: writer.write(UInt8(35))
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        switch number {
        case 1: self = .recover(try reader.readValue())
        case 2: self = .agentAdmit(try reader.readValue())
        case 3:
            let id = try reader.readText()
            self = .agentUpdate(id: id, try reader.readValue())
        case 4:
            let agents: [AgentAttachment] = try reader.readValues()
            try Self.checkCount(agents.count)
            self = .agentsReregister(agents)
        case 5:
            let id = try reader.readText()
            let generation = try reader.readUInt64()
            self = .agentReport(id: id, generation: generation, entries: try reader.readValues())
        case 6: self = .agentMarkUnreachable(id: try reader.readText())
        case 7: self = .agentMarkReachable(try reader.readValue())
        case 8: self = .agentMarkGone(id: try reader.readText())
        case 9:
            let id = try reader.readText()
            self = .agentRemove(id: id, discardsVolumes: try reader.readBool())
        case 10:
            let unreachable = try reader.readTexts()
            let gone = try reader.readTexts()
            try Self.checkCount(unreachable.count + gone.count)
            self = .agentsPrune(unreachable: unreachable, gone: gone, includesVolumes: try reader.readBool())
        case 11:
            let id = try reader.readText()
            let maxGracePeriod = try reader.readOptionalUInt64()
            self = .agentDrain(id: id, maxGracePeriod: maxGracePeriod, marksGone: try reader.readBool())
        case 12: self = .agentMarkDrained(id: try reader.readText())
        case 13: self = .agentDeactivate(id: try reader.readText())
        case 14: self = .agentReactivate(id: try reader.readText())
        case 15:
            let count = try reader.readUInt64()
            self = .agentsApproveRemoval(count: count, until: try reader.readUInt64())
        case 16:
            let info: FrameworkInfo = try reader.readValue()
            let principal = try reader.readOptionalText()
            let connection = try reader.readText()
            self = .frameworkSubscribe(
                info, principal: principal, connection: connection, isForced: try reader.readBool())
        case 17:
            let info: FrameworkInfo = try reader.readValue()
            self = .frameworkUpdate(info, principal: try reader.readOptionalText())
        case 18:
            let id = try reader.readText()
            self = .frameworkDisconnect(id: id, connection: try reader.readText())
        case 19: self = .frameworkTeardown(id: try reader.readText())
        case 20:
            let ids = try reader.readTexts()
            try Self.checkCount(ids.count)
            self = .frameworksForget(ids)
        case 21: self = .weightsUpdate(try reader.readValues())
        case 22:
            let configs: [QuotaConfig] = try reader.readValues()
            try Self.checkCount(configs.count)
            self = .quotaUpdate(configs, isForced: try reader.readBool())
        case 23:
            self = .scheduleUpdate(
                try reader.readOptional { (reader) throws(DecodeError) in try reader.readValues() })
        case 24: self = .maintenanceStart(try reader.readValues())
        case 25: self = .maintenanceStop(try reader.readValues())
        case 26:
            let requests: [OperationRequest] = try reader.readValues()
            try Self.checkCount(requests.count)
            self = .operationsApply(requests, isAtomic: try reader.readBool())
        case 27:
            let agentID = try reader.readText()
            let frameworkID = try reader.readText()
            let holdID = try reader.readText()
            let role = try reader.readText()
            self = .acquire(
                agentID: agentID, frameworkID: frameworkID, holdID: holdID, role: role,
                resources: try reader.readValues())
        case 28:
            let agentID = try reader.readText()
            let frameworkID = try reader.readText()
            self = .release(agentID: agentID, frameworkID: frameworkID, holdID: try reader.readText())
        case 29:
            let id = try reader.readText()
            let type = try reader.readOptionalText()
            self = .providerAdmit(id: id, type: type, name: try reader.readOptionalText())
        case 30: self = .providerRemove(id: try reader.readText())
        case 31:
            let agentID = try reader.readText()
            let uuid = try reader.readText()
            let status: OperationStatus = try reader.readValue()
            let latest: OperationState? = try reader.readOptional { (reader) throws(DecodeError) in
                try reader.readNumber("state of an operation")
            }
            self = .operationStatusUpdate(agentID: agentID, uuid: uuid, status: status, latest: latest)
        case 32:
            let frameworkID = try reader.readText()
            let operationID = try reader.readText()
            let statusUUID = try reader.readText()
            self = .operationAcknowledge(
                frameworkID: frameworkID, operationID: operationID, statusUUID: statusUUID,
                agentID: try reader.readText())
        case 33: self = .rateLimitsSet(try reader.readOptionalValue())
        case 34:
            let start = reader.offset
            let id = try reader.readText()
            let chunk = try reader.readUInt64()
            let isLast = try reader.readBool()
            self = .importChunk(id: id, number: chunk, isLast: isLast, try reader.readValues())
            guard reader.offset - start <= Self.importSizeMax else { throw .tooLarge(UInt64(reader.offset - start)) }
        case 35: self = .importAbort
        default: throw .unknown("command", UInt64(number))
        }
    }

    private static func checkCount(_ count: Int) throws(DecodeError) {
        guard count <= objectsMax else { throw .tooLarge(UInt64(count)) }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ number: UInt8, _ id: [UInt8]) {
        write(number)
        writeBytes16(id)
    }
}
