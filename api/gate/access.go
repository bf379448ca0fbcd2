package gate

import (
	"github.com/sgkandale/sharelock/internal/auth"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// Access says what a call needs. Every route and every method declares it; without it a call is refused.
type Access struct {
	scope scope
	verb  auth.Verb
	// free calls do not count against a principal's calls per second. They keep or release locks, so
	// that a quota never costs a lock.
	free bool
}

// Declared reports whether the needs of the call were declared.
func (a Access) Declared() bool { return a.scope != undeclared }

// scope says for what a call needs its verb.
type scope uint8

const (
	// undeclared is the zero value: no needs were declared, so nobody may make the call.
	undeclared scope = iota
	// openToAll needs nothing, not even valid credentials.
	openToAll
	// forCaller accepts valid credentials, or none.
	forCaller
	// onKey needs the verb on the key of the request.
	onKey
	// onAnyKey needs the verb on at least one key.
	onAnyKey
	// inHandler: the handler checks by itself, because only it knows the key.
	inHandler
)

// The needs of calls.
var (
	NeedsNothing   = Access{scope: openToAll}
	NeedsCaller    = Access{scope: forCaller, free: true}
	NeedsAcquire   = Access{scope: onKey, verb: auth.Acquire}
	NeedsRead      = Access{scope: onKey, verb: auth.Read}
	NeedsForce     = Access{scope: onKey, verb: auth.Force}
	NeedsReadOfAny = Access{scope: onAnyKey, verb: auth.Read}
	NeedsAdmin     = Access{scope: onAnyKey, verb: auth.Admin}
	// KeepsLocks is NeedsAcquire for renewals and releases.
	KeepsLocks = Access{scope: onKey, verb: auth.Acquire, free: true}
	// NeedsChecks is for a call whose handler checks each of its keys.
	NeedsChecks = Access{scope: inHandler}
	// Releases is NeedsChecks for calls that release locks.
	Releases = Access{scope: inHandler, free: true}
	// needsSession is for sessions, whose calls are counted one by one.
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
