internal import RegistryModel

extension RegistryRule {
    /// What the rule means, and where it helps what to do, in a sentence.
    var text: String {
        switch self {
        case .acquireHoldReused:
            "The agent knows a hold of this framework under this id, with another role or other resources: a "
                + "new hold needs a new id."
        case .acquireMixedRevocable:
            "One hold asks for revocable and for other resources of one name: ask for them in two holds."
        case .acquireNotAllocatable:
            "A resource is reserved to a role that neither is the role of the hold nor stands above it."
        case .acquireRoleNotSubscribed:
            "The framework does not have the role that the hold is for: it has to subscribe with it first."
        case .acquireSharedIncapable: "A framework without SHARED_RESOURCES asks for a shared volume."
        case .agentAddressChanged:
            "The agent is attached to this master already, with another host name or ip: two agents use one id, "
                + "or it has moved."
        case .agentAlreadyAdmitted:
            "An agent of this id is admitted: it comes back by registering again, not by being admitted."
        case .agentAlreadyGone: "The agent was marked gone before, which is for ever."
        case .agentCheckpointedWithoutCheckpointing:
            "The agent states dynamic reservations or volumes, and that it keeps nothing on its disk."
        case .agentDeactivated: "The agent is deactivated or drained and takes no new tasks: reactivate it first."
        case .agentDigestMismatch:
            "Agent and registry differ about what is checkpointed, though both are at the same generation: the "
                + "agent has to report what it has."
        case .agentDrainBusy: "The agent still has tasks or open operations, so it is not drained yet."
        case .agentDrainIncapable: "The agent's release lacks AGENT_DRAINING: deactivate it instead."
        case .agentGenerationAhead:
            "The agent has seen a later generation than the registry holds: an old state of the registry was restored."
        case .agentGenerationStale: "The agent reports a generation that the registry has left behind."
        case .agentGone: "The agent was marked gone, which is for ever: it has to come back under a new id."
        case .agentHasVolumes:
            "Volumes would be forgotten with the agent: destroy them first, or remove it with --discard-volumes."
        case .agentIdInUse:
            "An agent of this id is unreachable or gone: one that is unreachable registers again, for another "
                + "take another id."
        case .agentIdMissing: "The agent states no id."
        case .agentMachineDown:
            "The agent's machine is down for maintenance: `quorate registry maintenance stop` brings it back."
        case .agentNoHierarchicalRole:
            "The reservation is for a role with /, which the agent's release does not know (HIERARCHICAL_ROLE)."
        case .agentNoRefinement:
            "The reservation lies upon another one, which the agent's release does not know (RESERVATION_REFINEMENT)."
        case .agentNoResize: "The agent's release cannot grow or shrink volumes (RESIZE_VOLUME)."
        case .agentNotAdmitted: "The agent is not among those that are admitted: unknown, unreachable or gone."
        case .agentNotAttached:
            "The agent has not told the master that leads now what it has: wait until it has come back."
        case .agentNotDeactivated: "The agent is active, unknown or gone: there is nothing to reactivate."
        case .agentNotDraining: "The agent is not being drained."
        case .agentNotFound: "There is no agent of this id, or it is gone."
        case .agentRemovalLimited:
            "More agents have become unreachable within ten minutes than is usual: wait, or allow more with "
                + "`quorate registry agents approve-removals`."
        case .agentReplyFull:
            "What this agent has missed does not fit the answer to so many agents: it has to register again."
        case .agentScheduledMachine: "The agent's machine is in the maintenance schedule, which drains it already."
        case .agentStillDraining: "The agent is being drained: it can be reactivated once it is drained."
        case .agentTotalBelowLedger: "The agent has less than what is reserved on it or held by its tasks."
        case .createDuplicateId: "The role has a volume of this id on the agent already, or the list names it twice."
        case .createPrincipalDiffers: "The volume names another principal than the one who asks."
        case .createPrincipalMissing: "Somebody authenticated asks, and the volume names no principal."
        case .createSharedIncapable: "A framework without SHARED_RESOURCES wants to create a shared volume."
        case .destroyInUse: "A task holds the volume: it has to end first."
        case .destroyNotFound:
            "The agent has no volume of this id with this size and these reservations: look at `quorate "
                + "registry volumes list`."
        case .diskEmpty:
            "The disk says neither which disk it is nor which volume: leave that part out for the root disk."
        case .diskRootOnBlock: "A block or raw disk has neither a path nor a mount point."
        case .diskTypeUnknown: "The source of the disk has no type, or one that this release does not know."
        case .diskWrongName: "Only a resource named disk can say which disk it is."
        case .frameworkCheckpointChanged:
            "Whether a framework checkpoints is settled when it first subscribes, and stays."
        case .frameworkCompleted: "The framework has ended: it has to subscribe anew, without its old id."
        case .frameworkConnectedElsewhere:
            "The framework is connected under another connection: the new one takes its place only with force."
        case .frameworkDuplicateRole: "The framework names a role twice."
        case .frameworkFailoverTimeoutRange: "The failover timeout is negative, no number, or more than 292 years."
        case .frameworkNotActive: "The framework is not connected: unknown, disconnected or ended."
        case .frameworkNotEnded: "Only frameworks that have ended can be forgotten: tear it down first."
        case .frameworkNotFound: "There is no framework of this id."
        case .frameworkOfferFilter: "A smallest amount in the framework's offer filters is no amount."
        case .frameworkPrincipalChanged: "The principal of a framework is settled when it first subscribes, and stays."
        case .frameworkPrincipalMismatch:
            "The framework states another principal than the one that it authenticated as."
        case .frameworkRoleFields:
            "With MULTI_ROLE a framework names its roles as a list, without it one role by itself; it did the other."
        case .frameworkSuppressedRole: "The framework suppresses or constrains offers of a role that it does not have."
        case .frameworkUserChanged: "The user of a framework is settled when it first subscribes, and stays."
        case .gpusFractional: "All gpus of a list together have to be a whole number."
        case .growAdditionZero: "Nothing is to be added to the volume."
        case .growIncompatible:
            "The addition is not of the volume's own disk and reservation, or that disk is only given away whole."
        case .growProvider: "The volume belongs to a resource provider, which would have to resize it."
        case .growShared: "A shared volume cannot be resized."
        case .idCharacter: "An id may not hold /, \\ or a control character: agents name directories by it."
        case .idDots: "An id may not be . or .. : agents name directories by it."
        case .idEmpty: "An id may not be empty."
        case .idTooLong: "An id has at most 255 bytes."
        case .importDuplicate: "What is imported has something twice that there can be once."
        case .importNotEmpty:
            "Only a registry without agents, machines, quota, weights, resource providers and a schedule takes an "
                + "import."
        case .importShape: "What is imported does not go together, or stands where it cannot."
        case .importUnderWay:
            "A part of an import has come: finish it by importing the same file again, or give it up with `quorate "
                + "registry import --abort`."
        case .labelsTooLarge: "More than 64 labels, or more than 4 KiB of them."
        case .ledgerInUse: "The agent has it, and a task holds it or an operation works on it."
        case .ledgerIndivisible: "Part of a disk is asked for that is only given away whole: name all of it."
        case .ledgerInsufficient:
            "The agent does not have so much of it with exactly these reservations: look at `quorate registry "
                + "resources list --agent`."
        case .limiterCountZero: "How many more agents may become unreachable has to be 1 or more."
        case .machineIdEmpty: "A machine needs a host name, an ip, or both."
        case .machineIpInvalid: "The ip of a machine is an IPv4 address."
        case .machineListEmpty: "No machine is named: name at least one."
        case .machineListedTwice: "A machine is named twice."
        case .machineNotDown: "Only a machine that is down can be brought back."
        case .machineNotDraining: "The machine is down already."
        case .machineTooLong: "The host name or the address of a machine has more than 255 bytes."
        case .machineNotScheduled: "The machine is not in the maintenance schedule: put it there first."
        case .operationAckNoAgent: "The acknowledgement does not say on which agent the operation is."
        case .operationAckUuidSize: "The status that is acknowledged is named by a UUID of 16 bytes."
        case .operationAlienRole:
            "The framework has no role that may use what is reserved: neither its role nor one below."
        case .operationEmpty: "The operation names no resources."
        case .operationMixedAllocation: "All resources of one operation have to be offered to one and the same role."
        case .operationMixedProviders:
            "All resources of one operation have to be of one resource provider, or all of the agent itself."
        case .operationNameReused:
            "The framework has an open operation of this name: it has to be acknowledged first, or another name taken."
        case .operationStateNotReportable: "The state is one that the registry finds out itself, and no agent reports."
        case .operationStatusesFull:
            "The operation has had 100 statuses: the next one has to be one that ends it."
        case .operationUnknown: "The agent has no operation of this UUID, or it ended more than 24 hours ago."
        case .operationUnknownName: "The framework has no operation of this name on this agent."
        case .operationUnknownStatus: "The operation has no status of this UUID."
        case .operationUuidReused: "The UUID is that of another operation on this agent: each operation needs its own."
        case .operationUuidSize: "The UUID of an operation has 16 bytes."
        case .operationVersionStale: "The operation was made for resources that have changed since: look at them again."
        case .providerAlreadyAdmitted: "The resource provider is there already."
        case .providerRemoved: "The resource provider was removed, which is for ever: it needs a new id."
        case .providerUnknown: "There is no such resource provider, or it was removed."
        case .quotaChildSumAboveParent:
            "The roles below one are guaranteed more than it is itself: raise its guarantee first."
        case .quotaConsumptionAboveLimit: "The role uses more than the new limit: free some, or set it with --force."
        case .quotaGuaranteeAboveLimit: "More is guaranteed than the limit allows."
        case .quotaLegacyDuplicate: "A quota in the form of before Mesos 1.9 guarantees a resource twice."
        case .quotaLegacyEmpty: "A quota in the form of before Mesos 1.9 guarantees nothing."
        case .quotaLegacyField:
            "A quota in the form of before Mesos 1.9 guarantees plain amounts: nothing that is reserved, revocable, "
                + "shared, of a certain disk or of a provider."
        case .quotaNestedRole: "Roles with / have no quota unless the master was started with quota for hierarchies."
        case .quotaOvercommit:
            "More is guaranteed to all roles together than the agents have: add agents, or set it with --force."
        case .quotaRoleMissing: "The quota does not say for which role it is."
        case .quotaScalarInvalid: "A guarantee or limit is no amount."
        case .quotaTooLargeBytes: "A guarantee or limit of mem or disk is above 1,099,511,627,776 MB."
        case .quotaTooLargeCount: "A guarantee or limit is above 1,000,000,000,000."
        case .rangesInverted: "A range ends before it begins."
        case .rangesOverlap: "Two ranges of one resource share a number."
        case .rangesTooMany: "The value, or what would be left of one, falls into more than 10,000 ranges."
        case .ratelimitAggregateQpsNotPositive: "The rate of all who are not listed has to be above 0, or left out."
        case .ratelimitDuplicatePrincipal: "A principal is listed twice in the rate limits."
        case .ratelimitQpsNotPositive: "The rate of a principal has to be above 0, or left out for no limit."
        case .ratelimitShape: "A rate limit does not say for which principal it is."
        case .reservationDynamicRevocable: "What can be revoked cannot be reserved by an operation."
        case .reservationFormsDisagree: "The resource says in the old form another reservation than in the new one."
        case .reservationKindMissing: "A reservation says neither that it is static nor that it is dynamic."
        case .reservationNotASubrole:
            "A reservation upon another one has to be for a role below that one's, as db/eu is below db."
        case .reservationRoleIsStar: "Nothing can be reserved to *, which is everybody."
        case .reservationRoleMissing: "A reservation does not say for which role it is."
        case .reservationStaticRefinement:
            "Only the lowest reservation may be static, that of the agent's own configuration."
        case .reserveAllocated: "An operator reserves what is offered to nobody: leave the allocation role out."
        case .reserveAllocationRoleDiffers:
            "A framework can reserve only for the role that the resources were offered to."
        case .reserveListEmpty: "With a source, both what is there now and what is to be there have to be named."
        case .reserveMixedStacks: "All resources of a list have to be reserved alike."
        case .reserveNotDynamic: "The uppermost reservation has to be a dynamic one."
        case .reservePersistentVolume:
            "A volume keeps its reservation: destroy it, reserve the disk, and create it again."
        case .reservePrincipalDiffers: "The reservation names another principal than the one who asks."
        case .reservePrincipalMissing: "Somebody authenticated asks, and the reservation names no principal."
        case .reserveQuantityDiffers: "Source and resources have to be the same but for their reservations."
        case .reserveRoleNotSubscribed: "The framework does not have the role that it reserves for."
        case .reserveUnallocated: "A framework has to say which of its roles the resources were offered to."
        case .resourceListOverlap:
            "Two resources of a list, of one name and one reservation, share a number or an item."
        case .resourceListTooLong: "A list names more than 4,096 resources: send several commands."
        case .resourceNameEmpty: "A resource has no name."
        case .resourceTooLarge:
            "The name of a resource has more than 255 bytes, or its reservations and source more than 2,560."
        case .resourceTypeInvalid:
            "The value of a resource is missing, is of another type than it says, or there are several."
        case .roleCharacter: "A role may not hold a blank or a control character."
        case .roleDashStart: "No part of a role may begin with a dash."
        case .roleDotComponent: "No part of a role may be . or .. ."
        case .roleEmpty: "A role may not be empty."
        case .roleSlashDouble: "A role may not hold two slashes in a row."
        case .roleSlashEdge: "A role may not begin or end with a slash."
        case .roleStarComponent: "No part of a role may be *, which by itself means everybody."
        case .roleTooLong: "A role has at most 1,024 bytes and 64 parts."
        case .scalarInvalid: "An amount is a finite number, 0 or more."
        case .scalarNotPositive:
            "The amount is less than half a thousandth, which is as good as nothing: amounts have three decimal places."
        case .scalarOverflow: "The amount, or a sum, is above 9,007,199,254,740.991."
        case .scheduleDownMachineRemoved:
            "A machine that is down has to stay in the schedule until its maintenance is stopped."
        case .scheduleDurationNegative: "A window may not end before it begins."
        case .scheduleMachineTwice: "A machine may be in the schedule once."
        case .scheduleWindowEmpty: "A window of the schedule names no machine."
        case .setDuplicate: "An item of a set is there twice."
        case .sharedNotVolume: "Only a persistent volume can be shared, not plain disk."
        case .sharedWrongName: "Only a resource named disk can be shared."
        case .shrinkMount: "A disk that is only given away whole cannot get smaller."
        case .shrinkNothingLeft:
            "So much is to be taken away that nothing of the volume would be left: destroy it instead."
        case .shrinkProvider: "The volume belongs to a resource provider, which would have to resize it."
        case .shrinkShared: "A shared volume cannot be resized."
        case .shrinkSubtractZero: "Nothing is to be taken away from the volume."
        case .unreserveNotDynamic:
            "The uppermost reservation is none that an operation made: a static one is the agent's own configuration."
        case .unreservePersistentVolume: "There is a volume on it, which has to be destroyed first."
        case .volumeHostPath: "Where a volume lies on the host is for the agent to choose."
        case .volumeMountMissing: "A volume does not say where a task finds it."
        case .volumeNoDisk: "The resource is no volume: it says nothing of a disk."
        case .volumeNoMount: "The volume does not say where a task finds it."
        case .volumeNoPersistence: "The disk is no volume: it has no persistence id."
        case .volumeNotPersistent:
            "A path in the container is given, and no persistence id that would make the disk a volume."
        case .volumePathAbsolute:
            "The path of a volume in the container has to be relative, and may not leave the sandbox by way of .. ."
        case .volumeReadOnly:
            "A volume is created, destroyed and resized as one that can be written; a task may mount it read-only."
        case .volumeRevocable: "What can be revoked cannot be a volume."
        case .volumeUnreserved: "A volume lies on reserved disk: reserve it first."
        case .weightNotFinite: "A weight is a finite number."
        case .weightNotPositive: "A weight has to be above 0."
        }
    }
}
