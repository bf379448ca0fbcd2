package gate

import (
	"github.com/sgkandale/sharelock/internal/auth"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// Access is what a call needs. Every route and every method declares it; one without is refused.
type Access struct {
	scope scope
	verb  auth.Verb
	// free calls do not count against a principal's calls per second: those that keep a lock or
	// give it back, so that a quota costs nobody a lock.
	free bool
}

// Declared reports whether somebody has thought about what the call needs.
func (a Access) Declared() bool { return a.scope != undeclared }

// scope says on what a call needs its verb.
type scope uint8

const (
	// undeclared is the zero value: nobody has thought about it, so that nobody may call it.
	undeclared scope = iota
	// openToAll needs nothing, not even good credentials.
	openToAll
	// forCaller needs good credentials, or none.
	forCaller
	// onKey needs the verb on the key of the request.
	onKey
	// onAnyKey needs the verb on at least one key.
	onAnyKey
	// inHandler needs what the handler checks by itself, because only it knows the key.
	inHandler
)

// What calls need.
var (
	NeedsNothing   = Access{scope: openToAll}
	NeedsCaller    = Access{scope: forCaller, free: true}
	NeedsAcquire   = Access{scope: onKey, verb: auth.Acquire}
	NeedsRead      = Access{scope: onKey, verb: auth.Read}
	NeedsForce     = Access{scope: onKey, verb: auth.Force}
	NeedsReadOfAny = Access{scope: onAnyKey, verb: auth.Read}
	NeedsAdmin     = Access{scope: onAnyKey, verb: auth.Admin}
	// KeepsLocks is NeedsAcquire of renewals and releases.
	KeepsLocks = Access{scope: onKey, verb: auth.Acquire, free: true}
	// NeedsChecks is of a call whose handler checks each of its keys.
	NeedsChecks = Access{scope: inHandler}
	// Releases is NeedsChecks of calls that give locks back.
	Releases = Access{scope: inHandler, free: true}
	// needsSession is of sessions, whose calls count one by one.
	needsSession = Access{scope: inHandler, free: true}
)

// GRPCAccess returns what the methods of all gRPC services need.
func GRPCAccess() map[string]Access {
	return map[string]Access{
		pb.LockService_Acquire_FullMethodName:      NeedsAcquire,
		pb.LockService_Renew_FullMethodName:        KeepsLocks,
		pb.LockService_Release_FullMethodName:      KeepsLocks,
		pb.LockService_GiveUp_FullMethodName:       KeepsLocks,
		pb.LockService_Get_FullMethodName:          NeedsRead,
		pb.LockService_List_FullMethodName:         NeedsChecks,
		pb.LockService_Watch_FullMethodName:        NeedsChecks,
		pb.LockService_CheckToken_FullMethodName:   NeedsRead,
		pb.LockService_History_FullMethodName:      NeedsRead,
		pb.LockService_ForceRelease_FullMethodName: NeedsForce,
		pb.LockService_Session_FullMethodName:      needsSession,

		pb.MeshService_GetMesh_FullMethodName:       NeedsReadOfAny,
		pb.MeshService_Locate_FullMethodName:        NeedsReadOfAny,
		pb.MeshService_GetRing_FullMethodName:       NeedsReadOfAny,
		pb.MeshService_GetActivity_FullMethodName:   NeedsReadOfAny,
		pb.MeshService_WhoAmI_FullMethodName:        NeedsCaller,
		pb.MeshService_Leave_FullMethodName:         NeedsAdmin,
		pb.MeshService_Decommission_FullMethodName:  NeedsAdmin,
		pb.MeshService_GetKeyring_FullMethodName:    NeedsAdmin,
		pb.MeshService_ChangeKeyring_FullMethodName: NeedsAdmin,
		pb.MeshService_GetLogLevel_FullMethodName:   NeedsAdmin,
		pb.MeshService_SetLogLevel_FullMethodName:   NeedsAdmin,
		pb.MeshService_GetDebug_FullMethodName:      NeedsAdmin,

		original.ShareLockService_Ping_FullMethodName:   NeedsNothing,
		original.ShareLockService_Lock_FullMethodName:   NeedsAcquire,
		original.ShareLockService_Unlock_FullMethodName: KeepsLocks,

		healthpb.Health_Check_FullMethodName: NeedsNothing,
		healthpb.Health_List_FullMethodName:  NeedsNothing,
		healthpb.Health_Watch_FullMethodName: NeedsNothing,

		reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:      NeedsReadOfAny,
		reflectionalphapb.ServerReflection_ServerReflectionInfo_FullMethodName: NeedsReadOfAny,
	}
}
