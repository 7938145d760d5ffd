package integration

import (
	"slices"
	"strings"
	"testing"
)

// conformance tells, for each behaviour of the list of 120, which tests hold us to it. What is not
// here is not built: the line on MCP (113), device (111), DPoP, mTLS and FAPI (70, 96-101).
var conformance = map[int]string{
	1:   "TestDiscoveryTellsTheTruth TestAnIssuerHasOneSpelling",
	2:   "TestMetadataAndKeysAreWhatClientsRelyOn",
	3:   "TestMetadataAndKeysAreWhatClientsRelyOn",
	4:   "TestDiscoveryTellsTheTruth TestTheClientsOfASectorKnowAPersonByOneName",
	5:   "TestMetadataAndKeysAreWhatClientsRelyOn TestIDTokensAreSignedAsTheClientWants",
	6:   "TestDiscoveryTellsTheTruth",
	7:   "TestMetadataAndKeysAreWhatClientsRelyOn TestDiscoveryTellsTheTruth",
	8:   "TestMetadataAndKeysAreWhatClientsRelyOn",
	9:   "TestMetadataAndKeysAreWhatClientsRelyOn",
	10:  "TestMetadataAndKeysAreWhatClientsRelyOn TestAClientUsesItsOneMethodOrNone TestClientAssertions",
	11:  "TestMetadataAndKeysAreWhatClientsRelyOn",
	12:  "TestMetadataAndKeysAreWhatClientsRelyOn",
	13:  "TestOIDFConfigPlan",
	14:  "TestDiscoveryTellsTheTruth TestAcrSaysWhatTheSignInReallyWas",
	15:  "TestTheKeySetIsPublicAndWellFormed TestMetadataAndKeysAreWhatClientsRelyOn",
	16:  "TestMetadataAndKeysAreWhatClientsRelyOn",
	17:  "TestAKeyIsPublishedBeforeItSignsAndStaysUntilItsLastTokenIsDead",
	18:  "TestAClientRegistersItselfAndSignsPeopleIn",
	19:  "TestAClientRegistersItselfAndSignsPeopleIn TestWithoutASecretOrOnADeviceAClientIsWhatItSays",
	20:  "TestAClientRegistersItselfAndSignsPeopleIn TestAClientManagesItsRegistrationAndNobodyElses",
	21:  "TestAClientRegistersItselfAndSignsPeopleIn",
	22:  "TestPublishedKeysCountLikeRegisteredOnes TestAClientHasItsKeysInOnePlace TestARegistrationIsEchoed",
	23:  "TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords",
	24:  "TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords TestWithoutASecretOrOnADeviceAClientIsWhatItSays",
	25:  "TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords TestARegistrationIsEchoed",
	26:  "TestAClientRegistersItselfAndSignsPeopleIn",
	27:  "TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords",
	28:  "TestARegistrationIsEchoed TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords",
	29:  "TestARegistrationIsEchoed",
	30:  "TestAClientRegistersItselfAndSignsPeopleIn",
	31:  "TestASectorDocumentListsAllRedirectURIs",
	32:  "TestASectorDocumentListsAllRedirectURIs",
	33:  "TestASectorDocumentListsAllRedirectURIs TestAddressesOfAClientAreNeverCalledWhereTheyMayNotBe TestARedirectIsNotFollowed TestEndlessSlowAndPackedAnswersAreCut",
	34:  "TestAPostedRequestBehavesLikeOneByGet TestAClientMayPostARequestFromItsOwnSite",
	35:  "TestAnUnknownClientOrReturnAddressIsAPageAndNeverARedirect TestARedirectURIIsLeftOutOnlyWhereThereIsOne",
	36:  "TestARegisteredQueryIsKept",
	37:  "TestErrorsForTheClientGoToItWithStateAndIssuer TestErrorsFollowTheResponseMode",
	38:  "TestErrorsForTheClientGoToItWithStateAndIssuer TestLongRequestsWork",
	39:  "TestLogInWithFromAuthorizeToSignOut TestShortOrMissingStateAndNonceWork",
	40:  "TestAReplayedCodeRevokesWhatCameFromIt TestAnExpiredCodeIsInvalidGrant TestAWrongAttemptDoesNotConsumeTheCode TestCodesAndTokensNeverRepeat",
	41:  "TestParametersWithoutMeaningHereNeverFailARequest TestTheOrderOfParametersMeansNothing TestAnUnknownClientOrReturnAddressIsAPageAndNeverARedirect",
	42:  "TestParametersWithoutMeaningHereNeverFailARequest",
	43:  "TestShortOrMissingStateAndNonceWork TestParametersWithoutMeaningHereNeverFailARequest",
	44:  "TestEveryCombinationOfPromptsShowsThePageThatItAsksFor TestPromptAndMaxAgeAskAgain TestAReloadedAppSignsInWithoutAPage",
	45:  "TestEveryCombinationOfPromptsShowsThePageThatItAsksFor TestPromptNoneStandsAlone TestErrorsForTheClientGoToItWithStateAndIssuer",
	46:  "TestEveryCombinationOfPromptsShowsThePageThatItAsksFor TestPromptAndMaxAgeAskAgain TestAChosenSessionThatIsTooOldStillAsksForThePassword",
	47:  "TestEveryCombinationOfPromptsShowsThePageThatItAsksFor TestPromptAndMaxAgeAskAgain TestAnAccountThatIsSignedInIsChosenWithoutAPassword",
	48:  "TestPromptAndMaxAgeAskAgain TestAttacksThatTakeTime",
	49:  "TestPromptAndMaxAgeAskAgain",
	50:  "TestTheHintedPersonOrNobody TestTheHintedPersonAnswersThoughSomebodyElseIsPresent",
	51:  "TestASignedInPersonWhoConsentedIsNotAskedAgain TestOfflineAccessIsAskedForOnce TestSingleClaimsNeedConsentLikeTheirScope",
	52:  "TestDenyingTellsTheClient TestEachPageHasItsPathItsPhraseAndStableNames",
	53:  "TestPKCEIsRequiredAndS256Only",
	54:  "TestPKCEIsRequiredAndS256Only TestAWrongAttemptDoesNotConsumeTheCode",
	55:  "TestEveryResponseMode TestFormPostAnswersAsAFormAndEscapes TestErrorsFollowTheResponseMode TestAnAnswerAsAFormComesBack",
	56:  "TestARequestObjectMustBeTheClientsOwn TestErrorsForTheClientGoToItWithStateAndIssuer",
	57:  "TestOnlyWhatARequestObjectHoldsCounts",
	58:  "TestClaimsAskedForOneByOneGoWhereTheyWereAskedFor",
	59:  "TestAResourceIsRegisteredAndInTheClientsList",
	60:  "TestTheVisitOfABrowserThatKeepsNothingElse TestSignInAgainGivesANewCookieAndKillsTheOldOne TestCookiesClaimWhatTheirTransportCanKeep",
	61:  "TestEachPageHasItsPathItsPhraseAndStableNames TestEveryPageFitsItsScreenAndIsAccessible",
	62:  "TestStrangersTextStaysTextOnEveryPage TestPagesAreNeverKeptFramedOrScriptedFromElsewhere TestAPageNeverLinksToAnAddressThatIsNotRegistered",
	63:  "TestAPushedRequestIsSpentByTheCodeAndNotByAPageLoad TestTabsDoNotMixUpAndAReloadIsHarmless TestTheBackButtonLeadsNowhereWrong",
	64:  "TestAPushedRequestIsAnsweredLikeAnyOther",
	65:  "TestAPushIsCheckedAtOnce TestAttacksOnPushedRequests",
	66:  "TestAPushIsCheckedAtOnce",
	67:  "TestAPushIsCheckedAtOnce",
	68:  "TestAPushedRequestIsSpentByTheCodeAndNotByAPageLoad TestOnlyPushedValuesCount",
	69:  "TestAClientThatMustPushCannotDoWithout",
	71:  "TestTheTokenEndpointTakesOnlyAForm TestATokenAnswerHasWhatWasGranted",
	72:  "TestATokenAnswerHasWhatWasGranted",
	73:  "TestAClientUsesItsOneMethodOrNone",
	74:  "TestAClientUsesItsOneMethodOrNone TestBasicCredentialsAreDecodedOnce",
	75:  "TestClientAssertions TestAnAssertionIsAcceptedOnce TestClocksMayDifferBySeconds TestARotatedKeyIsFoundAndTheOldOneEnds TestUnknownKeysAreLookedForOnceAMinute",
	76:  "TestClientAssertions",
	77:  "TestAClientUsesItsOneMethodOrNone",
	78:  "TestAReplayedCodeRevokesWhatCameFromIt",
	79:  "TestAWrongAttemptDoesNotConsumeTheCode TestAnExpiredCodeIsInvalidGrant TestPKCEIsRequiredAndS256Only",
	80:  "TestAForeignOrForgedRefreshTokenEndsNothing TestARefreshMayNarrowTheScopeNotWidenIt TestTheRefreshedIDTokenKeepsItsSubjectAndTime",
	81:  "TestATokenAnswerHasWhatWasGranted TestWithoutOfflineAccessThereIsNoRefreshToken TestCodesAndTokensNeverRepeat",
	82:  "TestAConfidentialClientMayKeepItsRefreshToken TestALostRefreshResponseCostsNobodyTheirSession", // rotation by default: doc/decisions/0006
	83:  "TestAStolenRefreshTokenEndsItsGrant",
	84:  "TestClientCredentialsGiveNoMoreThanTheClientMayHave TestTheTokenEndpointTakesOnlyAForm",
	85:  "TestTheTokenEndpointNarrowsTheAudience TestJWTAccessTokens",
	86:  "TestAnIDTokenHasItsClaimsAndNoOthers TestIDTokensAreSignedAsTheClientWants",
	87:  "TestAnIDTokenHasItsClaimsAndNoOthers TestAcrSaysWhatTheSignInReallyWas",
	88:  "TestAnIDTokenHasItsClaimsAndNoOthers TestClaimsAskedForOneByOneGoWhereTheyWereAskedFor",
	89:  "TestAcrSaysWhatTheSignInReallyWas TestAnEssentialACRIsReachedOrTheRequestFails",
	90:  "TestUserInfoTellsWhatTheScopesAllow TestUserInfoIsGivenWhateverIsAccepted TestUserInfoIsSignedForClientsThatAskForIt",
	91:  "TestUserInfoTellsWhatTheScopesAllow TestUserInfoIsGivenWhateverIsAccepted",
	92:  "TestAPersonWithEveryStandardClaimHasAllOfThemWithTheRightTypes TestWhatAPersonHasNotIsAbsent",
	93:  "TestAPersonWithEveryStandardClaimHasAllOfThemWithTheRightTypes",
	94:  "TestUserInfoTellsWhatTheScopesAllow TestAttacksOnEndpointsThatReadTokens",
	95:  "TestUserInfoIsGivenWhateverIsAccepted TestScriptsReadAnswersAndErrorsOfTheirOwnClient",
	102: "TestSignOutByTheAppNeedsAHintOrAQuestion TestHintsOutliveTheirKeyAndTheirTime TestTheFormsOfASignOutRequestAreEqual",
	103: "TestSignOutByTheAppNeedsAHintOrAQuestion TestTheFormsOfASignOutRequestAreEqual",
	104: "TestAHintThatIsNoneOfOursSignsNobodyOut TestAttacksOnSignOutAndSessions",
	105: "TestSignOutByTheAppNeedsAHintOrAQuestion TestAttacksOnSignOutAndSessions",
	106: "TestSigningOutTellsEveryClientOfTheSession TestASlowClientDoesNotHoldUpTheSignOutNorTheOthers TestAClientThatIsAwayIsToldWhenItIsBack",
	107: "TestFramesTellTheAppsOfOurOwnSite TestAppsOfOurSiteAreToldInFrames",
	108: "TestSignOutByTheAppNeedsAHintOrAQuestion TestTheFormsOfASignOutRequestAreEqual TestAnotherSiteCannotPostTheConfirmation",
	109: "TestRevocation",
	110: "TestIntrospectionTellsOnlyThoseWhoMayKnow TestAnIntrospectionAnswerCanBeSigned",
	112: "TestMetadataIsFoundWhereverClientsLook TestScriptsOfEveryOriginReadMetadataAndKeys TestAPreflightIsForEverybodyAndWithoutCredentials",
	114: "TestAResourceIsRegisteredAndInTheClientsList TestATokenForOneResourceIsNotValidAtAnother",
	115: "TestMetadataAndKeysAreWhatClientsRelyOn TestTheTokenEndpointTakesOnlyAForm TestPKCEIsRequiredAndS256Only TestRedirectURIsMatchByteForByte",
	116: "TestTLSIsModernAndRenewedFilesAreRead",
	117: "TestForwardedAddressesCountFromTrustedProxiesOnly TestForeignHostsAndForwardedHeadersChangeNothing",
	118: "TestLongRequestsWork TestOversizedInputIsRefusedWithoutA5xx",
	119: "TestNoEndpointFailsOnMalformedInput",
	120: "TestClocksMayDifferBySeconds",
}

// notBuilt are the lines of the list whose chapter is not there.
func notBuilt(line int) bool {
	return line >= 96 && line <= 101 || slices.Contains([]int{70, 111, 113}, line)
}

func TestEveryConformanceLineHasItsTest(t *testing.T) {
	t.Parallel()
	tests, _ := readTests(t)
	for line := 1; line <= 120; line++ {
		names := strings.Fields(conformance[line])
		switch {
		case len(names) == 0 && !notBuilt(line):
			t.Errorf("line %d has no test", line)
		case len(names) > 0 && notBuilt(line):
			t.Errorf("line %d has tests: it is built", line)
		}
		for _, name := range names {
			if !slices.Contains(tests, name) {
				t.Errorf("line %d: there is no test %s", line, name)
			}
		}
	}
	for line := range conformance {
		if line < 1 || line > 120 {
			t.Errorf("there is no line %d", line)
		}
	}
}
