/// The rules of the registry. An id is for ever: it is what a client is told, the label of a counter and the name of a test.
public enum RegistryRule: String, Hashable, Sendable, CaseIterable {
    case agentNoHierarchicalRole = "agent.no-hierarchical-role"
    case agentNoRefinement = "agent.no-refinement"
    case agentNoResize = "agent.no-resize"

    case createDuplicateId = "create.duplicate-id"
    case createPrincipalDiffers = "create.principal-differs"
    case createPrincipalMissing = "create.principal-missing"
    case createSharedIncapable = "create.shared-incapable"

    case destroyInUse = "destroy.in-use"
    case destroyNotFound = "destroy.not-found"

    case diskEmpty = "disk.empty"
    case diskRootOnBlock = "disk.root-on-block"
    case diskTypeUnknown = "disk.type-unknown"
    case diskWrongName = "disk.wrong-name"

    case gpusFractional = "gpus.fractional"

    case growAdditionZero = "grow.addition-zero"
    case growIncompatible = "grow.incompatible"
    case growProvider = "grow.provider"
    case growShared = "grow.shared"

    case idCharacter = "id.character"
    case idDots = "id.dots"
    case idEmpty = "id.empty"
    case idTooLong = "id.too-long"

    case labelsTooLarge = "labels.too-large"

    case ledgerInUse = "ledger.in-use"
    case ledgerIndivisible = "ledger.indivisible"
    case ledgerInsufficient = "ledger.insufficient"

    case operationAlienRole = "operation.alien-role"
    case operationMixedAllocation = "operation.mixed-allocation"
    case operationMixedProviders = "operation.mixed-providers"

    case rangesInverted = "ranges.inverted"
    case rangesOverlap = "ranges.overlap"

    case reservationDynamicRevocable = "reservation.dynamic-revocable"
    case reservationFormsDisagree = "reservation.forms-disagree"
    case reservationKindMissing = "reservation.kind-missing"
    case reservationNotASubrole = "reservation.not-a-subrole"
    case reservationRoleIsStar = "reservation.role-is-star"
    case reservationRoleMissing = "reservation.role-missing"
    case reservationStaticRefinement = "reservation.static-refinement"

    case reserveAllocated = "reserve.allocated"
    case reserveAllocationRoleDiffers = "reserve.allocation-role-differs"
    case reserveListEmpty = "reserve.list-empty"
    case reserveMixedStacks = "reserve.mixed-stacks"
    case reserveNotDynamic = "reserve.not-dynamic"
    case reservePersistentVolume = "reserve.persistent-volume"
    case reservePrincipalDiffers = "reserve.principal-differs"
    case reservePrincipalMissing = "reserve.principal-missing"
    case reserveQuantityDiffers = "reserve.quantity-differs"
    case reserveRoleNotSubscribed = "reserve.role-not-subscribed"
    case reserveUnallocated = "reserve.unallocated"

    case resourceListOverlap = "resource.list-overlap"
    case resourceNameEmpty = "resource.name-empty"
    case resourceTypeInvalid = "resource.type-invalid"

    case roleCharacter = "role.character"
    case roleDashStart = "role.dash-start"
    case roleDotComponent = "role.dot-component"
    case roleEmpty = "role.empty"
    case roleSlashDouble = "role.slash-double"
    case roleSlashEdge = "role.slash-edge"
    case roleStarComponent = "role.star-component"
    case roleTooLong = "role.too-long"

    case scalarInvalid = "scalar.invalid"
    case scalarNotPositive = "scalar.not-positive"
    case scalarOverflow = "scalar.overflow"

    case setDuplicate = "set.duplicate"

    case sharedNotVolume = "shared.not-volume"
    case sharedWrongName = "shared.wrong-name"

    case shrinkMount = "shrink.mount"
    case shrinkNothingLeft = "shrink.nothing-left"
    case shrinkProvider = "shrink.provider"
    case shrinkShared = "shrink.shared"
    case shrinkSubtractZero = "shrink.subtract-zero"

    case unreserveNotDynamic = "unreserve.not-dynamic"
    case unreservePersistentVolume = "unreserve.persistent-volume"

    case volumeHostPath = "volume.host-path"
    case volumeMountMissing = "volume.mount-missing"
    case volumeNoDisk = "volume.no-disk"
    case volumeNoMount = "volume.no-mount"
    case volumeNoPersistence = "volume.no-persistence"
    case volumeNotPersistent = "volume.not-persistent"
    case volumePathAbsolute = "volume.path-absolute"
    case volumeReadOnly = "volume.read-only"
    case volumeRevocable = "volume.revocable"
    case volumeUnreserved = "volume.unreserved"
}
